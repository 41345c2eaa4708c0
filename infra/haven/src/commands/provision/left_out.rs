//! The features that the stacks lack on a local AWS.

use std::collections::BTreeMap;

use blueprint::{How, LeftOut};
use haven_console::style::Meaning;
use haven_console::time::counted;
use haven_console::width::wrap;

/// Returns how many resources are affected, or with `verbose` each type and reason. Returns an empty
/// text if nothing is missing.
pub fn text(left_out: &[LeftOut], columns: usize, verbose: bool) -> String {
    if !verbose {
        let count: usize = left_out.iter().map(|one| one.resources.len()).sum();
        return match count {
            0 => String::new(),
            count => format!(
                "Not complete on the local AWS: {}  (list: -v)\n",
                counted(count, "resource")
            ),
        };
    }
    // Group by type and reason, so that the resources of several stacks are on one line.
    let mut lines: BTreeMap<(&str, String, &str), Vec<String>> = BTreeMap::new();
    for one in left_out {
        let (stack, kind) = (&one.stack, &one.kind);
        let (title, what) = match &one.how {
            How::LeftOut => ("Not created", kind.clone()),
            How::Without(property) => (
                "Created without a property",
                format!("{property} of {kind}"),
            ),
            How::Idle => ("Created, with nothing behind it", kind.clone()),
        };
        let names = one.resources.iter().map(|id| format!("{stack}/{id}"));
        let line = lines.entry((title, what, &one.why));
        line.or_default().extend(names);
    }
    let (mut text, mut under) = (String::new(), "");
    for ((title, what, why), names) in lines {
        if title != under {
            let heading = Meaning::Heading.paint(format!("{title} on the local AWS"));
            let blank = if text.is_empty() { "" } else { "\n" };
            text += &format!("{blank}{heading}\n");
            under = title;
        }
        text += &(wrap(&format!("{what}: {why}"), columns, "  ", "    ") + "\n");
        text += &(wrap(&names.join(", "), columns, "      ", "      ") + "\n");
    }
    text
}
