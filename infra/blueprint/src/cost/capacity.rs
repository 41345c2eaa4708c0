//! Numbers that an estimate reads from several resources: zones and tasks.

use serde_json::Value;

use crate::graph::{Graph, Resource};
use crate::kind;

/// Returns the length of a list that is written out, or that another stack exports as joined text.
pub fn length(graph: &Graph<'_>, list: &Value) -> Option<f64> {
    if let Some(items) = list.as_array() {
        return Some(items.len() as f64);
    }
    for function in ["Fn::Split", "Fn::Join"] {
        if let Some(parts) = list[function].as_array() {
            return length(graph, parts.get(1)?);
        }
    }
    length(graph, graph.export(list["Fn::ImportValue"].as_str()?)?)
}

/// Returns the minimum number of tasks of a service: the minimum of its scaling, or its desired
/// count.
pub fn tasks(graph: &Graph<'_>, service: &Resource<'_>) -> f64 {
    let names = format!("${{{}.Name}}", service.id);
    let scaling = graph.of_type(kind::SCALABLE_TARGET).find(|target| {
        target.place.0 == service.place.0
            && target.properties["ResourceId"]["Fn::Sub"]
                .as_str()
                .is_some_and(|id| id.contains(&names))
    });
    let tasks = match scaling {
        Some(target) => target.number("MinCapacity"),
        None => service.number("DesiredCount"),
    };
    // ECS starts one task by default.
    tasks.unwrap_or(1.0)
}
