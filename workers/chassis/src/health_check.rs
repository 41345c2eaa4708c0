//! The health check of a container: one HTTP request to the process in it. The code blocks and
//! starts no runtime, because the check runs every few seconds beside the role and must stay cheap.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use contract::HEALTH_PATH;

/// The length of `HTTP/1.1 200` in bytes. The rest of the response is not read.
const ANSWER_MAX: usize = 12;

/// The process did not answer the health check with 200 in time.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    #[error("http://{address}{HEALTH_PATH}: answered {status:?}")]
    Answered { address: SocketAddr, status: String },
    #[error("http://{address}{HEALTH_PATH}: no answer within {within:?}")]
    Silent {
        address: SocketAddr,
        within: Duration,
    },
    #[error("http://{address}{HEALTH_PATH}")]
    Failed {
        address: SocketAddr,
        source: io::Error,
    },
}

/// Checks that the process that serves health on `bind` is alive. `within` limits the whole check.
///
/// # Errors
/// Returns [`Unhealthy`] when the process does not answer in time, or not with 200.
pub fn check(bind: SocketAddr, within: Duration) -> Result<(), Unhealthy> {
    let address = SocketAddr::new(reachable(bind.ip()), bind.port());
    match status(address, Instant::now() + within) {
        Ok(status) if status == "HTTP/1.1 200" => Ok(()),
        Ok(status) => Err(Unhealthy::Answered { address, status }),
        // The kinds with which a socket reports the end of its timeout.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
            ) =>
        {
            Err(Unhealthy::Silent { address, within })
        }
        Err(source) => Err(Unhealthy::Failed { address, source }),
    }
}

/// Returns loopback for the address of a process that listens on all addresses.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

fn status(address: SocketAddr, deadline: Instant) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request =
        format!("GET {HEALTH_PATH} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; ANSWER_MAX];
    let mut got = 0;
    // Each read gets the remaining time, so a slow server cannot extend the whole check.
    while got < ANSWER_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut answer[got..])? {
            0 => break,
            more => got += more,
        }
    }
    Ok(String::from_utf8_lossy(&answer[..got]).into_owned())
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    // The standard library refuses a timeout of zero.
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use contract::cause::chain;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Health, Metrics, health};

    const WITHIN: Duration = Duration::from_millis(300);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_process_that_is_alive_is_healthy_even_when_it_is_not_ready() {
        let role = Health::new("sweeper", "1");
        role.down("database", "gone");
        let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let listener = tokio::net::TcpListener::bind(everywhere)
            .await
            .expect("a port");
        let address =
            health::serve(listener, role, Metrics::new(), CancellationToken::new()).expect("bound");
        check(address, Duration::from_secs(2)).expect("healthy");
    }

    #[test]
    fn any_other_response_is_unhealthy() {
        for (answer, told) in [
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                "answered \"HTTP/1.1 503\"",
            ),
            ("", "answered \"\""),
        ] {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
            let address = listener.local_addr().expect("an address");
            let serving = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a question");
                let mut question = [0; 512];
                let _ = stream.read(&mut question);
                stream.write_all(answer.as_bytes()).expect("answered");
            });
            let error = check(address, Duration::from_secs(2)).expect_err("not healthy");
            assert_eq!(chain(&error), format!("http://{address}/healthz: {told}"));
            serving.join().expect("served");
        }
    }

    #[test]
    fn a_refused_connection_and_a_timeout_are_different_errors() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let begun = Instant::now();
        let unhealthy = || chain(&check(address, WITHIN).expect_err("not healthy"));
        let silent = unhealthy();
        assert!(silent.ends_with("no answer within 300ms"), "{silent}");
        drop(listener);
        let nobody = unhealthy();
        assert!(nobody.contains("refused"), "{nobody}");
        assert!(begun.elapsed() < WITHIN * 3);
    }
}
