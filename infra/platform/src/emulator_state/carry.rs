//! Carries the data of intact files over into files that a deployment has just made: items,
//! messages, secrets, settings. Ids, addresses and stacks come from the new files, so that all
//! files are consistent with each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::parameter::PARAMETERS;
use serde_json::{Map, Value};

use crate::private_file;

/// Returns the services whose state the local AWS saved in a folder, with their files.
///
/// # Errors
/// When the folder cannot be read.
pub fn saved(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let context = || format!("read {}", folder.display());
    let mut saved = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let service = name.and_then(|name| name.strip_suffix(".json"));
        if let Some(service) = service.filter(|_| path.is_file()) {
            saved.push((service.to_owned(), path));
        }
    }
    Ok(saved)
}

/// Carries over the data of the files that are not in `damaged`. Returns a description for people.
///
/// # Errors
/// When a file cannot be read or written.
pub fn over(old: &Path, new: &Path, damaged: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let mut carried = Vec::new();
    let intact = saved(old)?.into_iter();
    for (service, path) in intact.filter(|(service, _)| !damaged.contains_key(service)) {
        let target = new.join(format!("{service}.json"));
        match (service.as_str(), target.exists()) {
            // No stack has resources in this service, so the old file can replace the new one.
            (_, false) | ("s3", true) => {
                fs::copy(&path, &target).with_context(|| format!("write {}", target.display()))?;
            }
            (_, true) => {
                let (before, mut after) = (read(&path)?, read(&target)?);
                if let Some(what) = merge(&service, &before["payload"], &mut after["payload"]) {
                    let text = serde_json::to_vec(&after).context("encode")?;
                    private_file::write(&target, &text)?;
                    carried.extend((!what.is_empty()).then_some(what));
                }
            }
        }
    }
    let objects = old.join("s3");
    if objects.is_dir() {
        copy_tree(&objects, &new.join("s3"))?;
    }
    carried.sort();
    Ok(if carried.is_empty() {
        "nothing".to_owned()
    } else {
        carried.join(", ")
    })
}

/// Merges the data of a service into its new file, and returns a description. Returns `None` for
/// services whose new file stays as deployed.
fn merge(service: &str, before: &Value, after: &mut Value) -> Option<String> {
    match service {
        "dynamodb" => {
            let tables = fields(
                before,
                after,
                "tables",
                &["items", "ItemCount", "TableSizeBytes"],
            );
            Some(format!("items of {tables} tables"))
        }
        "sqs" => {
            let queues = fields(
                before,
                after,
                "queues",
                &["messages", "dedup_cache", "fifo_seq"],
            );
            fields(before, after, "queue_name_to_url", &[]);
            Some(format!("messages of {queues} queues"))
        }
        "secretsmanager" => Some(format!(
            "{} secrets",
            fields(before, after, "secrets", &["Versions"])
        )),
        "ssm" => Some(format!("{} settings", settings(before, after))),
        "sns" => {
            fields(before, after, "topics", &[]);
            fields(before, after, "sub_arn_to_topic", &[]);
            after["sms_messages"] = before["sms_messages"].clone();
            Some(String::new())
        }
        "cloudwatch" => {
            after["metrics"] = before["metrics"].clone();
            Some(String::new())
        }
        _ => None,
    }
}

/// Returns the entries of one store of a service. Their keys contain account, region and name.
fn entries<'a>(payload: &'a Value, store: &str) -> Option<&'a Map<String, Value>> {
    payload.get(store)?.get("data")?.as_object()
}

/// Copies the given fields of each entry that both stores have, and whole entries that only the old
/// store has: the user made those. Returns how many entries both stores have.
fn fields(before: &Value, after: &mut Value, store: &str, fields: &[&str]) -> usize {
    let Some(old) = entries(before, store) else {
        return 0;
    };
    let Some(new) = after
        .get_mut(store)
        .and_then(|store| store.get_mut("data"))
        .and_then(Value::as_object_mut)
    else {
        return 0;
    };
    let mut filled = 0;
    for (key, entry) in old {
        match new.get_mut(key) {
            None => drop(new.insert(key.clone(), entry.clone())),
            Some(fresh) => {
                for field in fields {
                    if let (Some(value), Some(place)) = (entry.get(field), fresh.get_mut(*field)) {
                        *place = value.clone();
                    }
                }
                filled += 1;
            }
        }
    }
    filled
}

/// Copies the values of settings and the parameters that only the old file has. Parameters with
/// addresses keep the values of the new resources. Returns the number of copied parameters.
fn settings(before: &Value, after: &mut Value) -> usize {
    let is_setting = |key: &str| {
        PARAMETERS
            .iter()
            .any(|setting| key.ends_with(&format!("/{}'", setting.key)))
    };
    let (old, new) = (
        entries(before, "parameters").cloned().unwrap_or_default(),
        after.get_mut("parameters"),
    );
    let Some(new) = new
        .and_then(|store| store.get_mut("data"))
        .and_then(Value::as_object_mut)
    else {
        return 0;
    };
    let mut taken = 0;
    for (key, entry) in old {
        if is_setting(&key) || !new.contains_key(&key) {
            new.insert(key, entry);
            taken += 1;
        }
    }
    taken
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    private_file::private_folder(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry.with_context(|| format!("read {}", from.display()))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            fs::copy(&path, &target).with_context(|| format!("write {}", target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store(entries: Value) -> Value {
        json!({ "__account_region_scoped__": true, "data": entries })
    }

    #[test]
    fn data_is_kept_and_everything_else_is_new() {
        let before = json!({ "tables": store(json!({
            "shop": { "TableId": "old", "items": { "espresso": 1 }, "ItemCount": 1 },
            "mine": { "TableId": "mine", "items": {} },
        })) });
        let mut after = json!({ "tables": store(json!({
            "shop": { "TableId": "new", "items": {}, "ItemCount": 0 },
            "fresh": { "TableId": "fresh", "items": {} },
        })) });
        assert_eq!(
            merge("dynamodb", &before, &mut after).as_deref(),
            Some("items of 1 tables")
        );
        let tables = &after["tables"]["data"];
        assert_eq!(
            tables["shop"],
            json!({ "TableId": "new", "items": { "espresso": 1 }, "ItemCount": 1 })
        );
        assert_eq!(
            (&tables["mine"]["TableId"], &tables["fresh"]["TableId"]),
            (&json!("mine"), &json!("fresh"))
        );
    }

    #[test]
    fn settings_keep_their_values_and_addresses_are_new() {
        let parameters = |value: &str| {
            json!({ "parameters": store(json!({
                "000000000000\0us-east-1\0'/brewhaven/local/notification/sms_enabled'": { "Value": value },
                "000000000000\0us-east-1\0'/brewhaven/local/stream/products/arn'": { "Value": value },
            })) })
        };
        let (before, mut after) = (parameters("old"), parameters("new"));
        assert_eq!(
            merge("ssm", &before, &mut after).as_deref(),
            Some("1 settings")
        );
        let values: Vec<_> = entries(&after, "parameters")
            .expect("some")
            .values()
            .map(|entry| &entry["Value"])
            .collect();
        assert_eq!(values, ["old", "new"]);
    }

    #[test]
    fn a_store_with_another_structure_keeps_its_deployed_state() {
        let mut after = json!({ "queues": store(json!({ "orders": { "messages": [] } })) });
        let deployed = after.clone();
        assert_eq!(
            merge("sqs", &json!({ "queues": [] }), &mut after).as_deref(),
            Some("messages of 0 queues")
        );
        assert_eq!(after, deployed);
        assert_eq!(merge("iam", &json!({}), &mut after), None);
    }
}
