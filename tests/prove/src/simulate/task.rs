//! The tasks of a run: the processes of the shop, then the task that sets clocks wrong, then people.

/// The index of a task, which stands for a process or a person.
pub type Who = usize;

/// The work of a process.
#[derive(Debug, Clone, Copy)]
pub enum Job {
    Orders,
    Payments,
    Notifications,
    Relay,
    Sweeper,
    Inventory,
}

/// The processes of the shop. The clock task and the people have the indexes after them.
pub const JOBS: [(&str, Job); 10] = [
    ("order-worker 1", Job::Orders),
    ("order-worker 2", Job::Orders),
    ("payment-worker 1", Job::Payments),
    ("payment-worker 2", Job::Payments),
    ("notifier 1", Job::Notifications),
    ("notifier 2", Job::Notifications),
    ("relay 1", Job::Relay),
    ("relay 2", Job::Relay),
    ("sweeper", Job::Sweeper),
    ("inventory-worker", Job::Inventory),
];

/// Returns the name of a task.
pub fn name_of(who: Who) -> String {
    match JOBS.get(who) {
        Some((name, _)) => (*name).to_owned(),
        None if who == JOBS.len() => "weather".to_owned(),
        None => format!("person {}", who - JOBS.len()),
    }
}
