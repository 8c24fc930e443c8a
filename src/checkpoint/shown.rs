//! What `tidemill checkpoint show` shows, as data, and how it becomes text or JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::snapshot::OperatorSize;
use super::{BatchHeader, Metadata};
use crate::error::{Error, Result};

/// What checkpoints have in them: one, or those of all flows below a `checkpoint.root`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckpointDescription {
    pub(super) shown: Shown,
    /// What is not as it was written: file, place and reason.
    pub damage: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Shown {
    One(Box<OneCheckpoint>),
    /// By directory name.
    Root(Vec<OneCheckpoint>),
}

/// One checkpoint.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneCheckpoint {
    /// The directory's name, which is the flow's below a root.
    pub name: String,
    /// With types and expressions as a user writes them.
    #[serde(flatten)]
    pub metadata: Metadata,
    pub snapshots: Vec<ShownSnapshot>,
    pub segments: Vec<ShownSegment>,
    pub batches: Vec<ShownBatch>,
    pub damage: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownSnapshot {
    pub batch_id: u64,
    /// `None` if it is not finished, or damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    pub operators: BTreeMap<u32, OperatorSize>,
    /// Why it is of no use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownSegment {
    pub number: u64,
    pub records: u64,
    pub bytes: u64,
    /// What ends it before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownBatch {
    #[serde(flatten)]
    pub header: BatchHeader,
    pub record: String,
    pub acknowledged: bool,
    /// Rows and bytes of the changes of state.
    pub operators: BTreeMap<u32, OperatorSize>,
}

impl CheckpointDescription {
    /// The damage as an error, if there is any.
    ///
    /// # Errors
    /// `CHECKPOINT_CORRUPT`.
    pub fn check(&self) -> Result<()> {
        if self.damage.is_empty() {
            return Ok(());
        }
        Err(Error::corrupt_checkpoint(format!("the checkpoint is damaged: {}", self.damage.join("; "))))
    }

    /// For people, line by line; of one checkpoint the `last` batches, or all of them.
    pub fn to_text(&self, last: Option<usize>) -> String {
        let mut text = String::new();
        match &self.shown {
            Shown::One(one) => one.write(last, &mut text),
            Shown::Root(all) => write_root(all, &mut text),
        }
        text
    }

    /// As JSON, one object on lines of its own; `last` batches of each checkpoint, or all of them. Times are milliseconds
    /// since 1970 in UTC. Below a root the object has one field, `flows`.
    pub fn to_json(&self, last: Option<usize>) -> String {
        let json = match &self.shown {
            Shown::One(one) => serde_json::to_string_pretty(&one.cut(last)),
            Shown::Root(all) => {
                let flows: Vec<_> = all.iter().map(|one| one.cut(last)).collect();
                serde_json::to_string_pretty(&BTreeMap::from([("flows", flows)]))
            }
        };
        // Names of fields are texts, and no number is infinite: there is nothing that JSON has not.
        json.unwrap_or_default()
    }
}

// Writing to a `String` cannot fail, so the results of `writeln!` are dropped here.

impl OneCheckpoint {
    fn cut(&self, last: Option<usize>) -> Self {
        let skipped = self.skipped(last);
        Self { batches: self.batches[skipped..].to_vec(), ..self.clone() }
    }

    fn skipped(&self, last: Option<usize>) -> usize {
        last.map_or(0, |n| self.batches.len().saturating_sub(n))
    }

    fn write(&self, last: Option<usize>, text: &mut String) {
        let m = &self.metadata;
        let _ = writeln!(text, "query {} (format version {})", m.id, m.format_version);
        let _ = writeln!(text, "  text         {}", on_one_line(&m.query));
        let _ = writeln!(text, "  output mode  {}", m.output_mode);
        let read = |i: usize| m.reads.get(i).map(|r| format!(" ({r})")).unwrap_or_default();
        let sources: Vec<_> = m.sources.iter().enumerate().map(|(i, name)| format!("{name}{}", read(i))).collect();
        let _ = writeln!(text, "  sources      {}", sources.join(", "));
        let _ = writeln!(text, "  sink         {}", m.sink);
        for (id, operator) in m.operators.iter().enumerate() {
            let _ = writeln!(text, "  operator {id}   {}: {}", operator.name, operator.fingerprint.join("; "));
        }
        text.push_str("snapshots\n");
        for s in &self.snapshots {
            let _ = match (&s.problem, s.bytes, &s.record) {
                (None, Some(bytes), Some(record)) => {
                    writeln!(text, "  batch {}: {bytes} bytes, record {record}", s.batch_id)
                }
                (problem, ..) => {
                    writeln!(text, "  batch {}: {}", s.batch_id, problem.as_deref().unwrap_or("not finished"))
                }
            };
            write_operators(&s.operators, text);
        }
        text.push_str("log\n");
        for s in &self.segments {
            let problem = s.problem.as_ref().map(|p| format!("; {p}")).unwrap_or_default();
            let _ = writeln!(text, "  segment {}: {} records, {} bytes{problem}", s.number, s.records, s.bytes);
        }
        let skipped = self.skipped(last);
        match skipped {
            0 => text.push_str("batches\n"),
            n => drop(writeln!(text, "batches ({n} earlier ones are left out)")),
        }
        self.batches[skipped..].iter().for_each(|b| b.write(text));
    }
}

impl ShownBatch {
    fn write(&self, text: &mut String) {
        let h = &self.header;
        let _ = writeln!(
            text,
            "  batch {}: time {}, watermark {} -> {}, {} rows, record {}, {}",
            h.batch_id,
            time(h.batch_timestamp_ms),
            time(h.batch_watermark_ms),
            time(h.next_watermark_ms),
            h.num_input_rows,
            self.record,
            if self.acknowledged { "acknowledged" } else { "not acknowledged" }
        );
        for source in &h.sources {
            let _ = writeln!(text, "    {}: {} -> {}", source.name, source.start, source.end);
        }
        write_operators(&self.operators, text);
    }
}

fn write_operators(operators: &BTreeMap<u32, OperatorSize>, text: &mut String) {
    for (operator, size) in operators {
        let _ = writeln!(text, "    operator {operator}: {} rows, {} bytes", size.rows, size.bytes);
    }
}

/// A line for each flow, in columns.
fn write_root(all: &[OneCheckpoint], text: &mut String) {
    let mut rows = vec![["flow", "last batch", "time", "output mode", "sink", "query"].map(str::to_owned)];
    for one in all {
        let last = one.batches.last();
        let batch = match (one.damage.is_empty(), last) {
            (false, _) => "damaged".to_owned(),
            (true, None) => "none".to_owned(),
            (true, Some(b)) => {
                format!("{}{}", b.header.batch_id, if b.acknowledged { "" } else { ", not acknowledged" })
            }
        };
        let m = &one.metadata;
        let at = last.map(|b| time(b.header.batch_timestamp_ms)).unwrap_or_default();
        rows.push([
            one.name.clone(),
            batch,
            at,
            m.output_mode.clone(),
            m.sink.clone(),
            cut(&on_one_line(&m.query), 60),
        ]);
    }
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..5).map(width).collect();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}  {}", cells.join("  "), row[5]);
    }
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn time(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms)
        .map_or_else(|| format!("{ms} ms"), |t| t.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
}
