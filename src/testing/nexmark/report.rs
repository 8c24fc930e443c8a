//! Figures as a table, and as JSON.

use serde_json::{Value, json};

use super::NexmarkChecked;
use super::measure::NexmarkFigures;

const HEAD: [&str; 11] = [
    "query",
    "events",
    "seconds",
    "events/s",
    "p50 ms",
    "p99 ms",
    "state bytes",
    "peak memory",
    "fsyncs",
    "rows",
    "right",
];

/// A table: with `None` its head, else the line of a query. All lines are as wide as each other.
pub fn table(figures: Option<&NexmarkFigures>) -> String {
    let Some(f) = figures else { return line(&HEAD.map(str::to_owned)) };
    let ms = |share| format!("{:.2}", f.percentile(share).as_secs_f64() * 1e3);
    let right = match &f.checked {
        None => "-",
        // Nothing has been compared: with few events no window ends and nobody wins.
        Some(NexmarkChecked { rows: 0, difference: None }) => "-",
        Some(checked) if checked.difference.is_none() => "yes",
        Some(_) => "NO",
    };
    let mut text = line(&[
        f.query.to_owned(),
        f.events.to_string(),
        format!("{:.3}", f.took.as_secs_f64()),
        format!("{:.0}", f.events_per_second()),
        ms(0.5),
        ms(0.99),
        f.state_bytes.to_string(),
        f.peak_memory_bytes.map_or_else(|| "-".to_owned(), |b| format!("{} MB", b >> 20)),
        f.syncs.to_string(),
        f.checked.as_ref().map_or_else(|| "-".to_owned(), |checked| checked.rows.to_string()),
        right.to_owned(),
    ]);
    if let Some(difference) = f.checked.as_ref().and_then(|checked| checked.difference.as_ref()) {
        text += &format!("\n    {difference}");
    }
    text
}

fn line(cells: &[String; 11]) -> String {
    let widths = [5, 10, 9, 11, 9, 9, 12, 11, 7, 9, 5];
    let cells = cells.iter().zip(widths).enumerate();
    // Names to the left, numbers to the right.
    let cells =
        cells.map(|(i, (text, width))| if i == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") });
    cells.collect::<Vec<_>>().join("  ")
}

/// An array with an object for each query.
pub fn json(all: &[NexmarkFigures]) -> String {
    let ms = |f: &NexmarkFigures, share| f.percentile(share).as_secs_f64() * 1e3;
    let object = |f: &NexmarkFigures| {
        json!({
            "query": f.query,
            "mode": f.mode.to_string().to_lowercase(),
            "events": f.events,
            "seconds": f.took.as_secs_f64(),
            "eventsPerSecond": f.events_per_second(),
            "triggers": f.triggers.len(),
            "p50Ms": ms(f, 0.5),
            "p99Ms": ms(f, 0.99),
            "stateBytes": f.state_bytes,
            "fsyncs": f.syncs,
            "peakMemoryBytes": f.peak_memory_bytes,
            "rows": f.checked.as_ref().map(|checked| checked.rows),
            "right": f.checked.as_ref().map(|checked| checked.difference.is_none()),
            "difference": f.checked.as_ref().and_then(|checked| checked.difference.as_ref()),
        })
    };
    format!("{:#}", Value::Array(all.iter().map(object).collect()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::output_mode::OutputMode;

    #[test]
    fn lines_are_below_their_heads() {
        let figures = NexmarkFigures {
            query: "q5w",
            mode: OutputMode::Append,
            events: 920_000,
            took: Duration::from_millis(500),
            triggers: [1, 2, 30].map(Duration::from_millis).to_vec(),
            state_bytes: 4096,
            syncs: 3,
            peak_memory_bytes: Some(300 << 20),
            checked: Some(NexmarkChecked { rows: 77, difference: None }),
        };
        let (head, line) = (table(None), table(Some(&figures)));
        assert_eq!(head.len(), line.len());
        assert!(
            line.contains("1840000") && line.contains(" 2.00") && line.contains(" 30.00") && line.ends_with("yes"),
            "{line}"
        );
        let read: Value = serde_json::from_str(&json(&[figures])).unwrap();
        assert_eq!(
            (&read[0]["right"], &read[0]["p50Ms"], &read[0]["mode"]),
            (&true.into(), &2.0.into(), &"append".into())
        );
    }
}
