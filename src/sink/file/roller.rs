//! Puts rows that wait into files, and removes files that are too old.

use super::encode::FileFormat;
use super::folders::{FilesByFolder, Written};
use super::lines::{Line, State, file_name};
use super::log::{Kind, Log};
use super::rolling::Rolling;
use super::{pending, target};
use crate::error::Result;
use crate::sink::SinkContext;

/// See the module.
#[derive(Debug)]
pub struct Roller {
    format: FileFormat,
    rolling: Rolling,
    /// How many bytes of a file a byte that waited has become.
    ratio: f64,
    /// When the oldest file was committed, if files are ever removed.
    oldest_ms: Option<i64>,
}

impl Roller {
    /// Of a log that was just opened.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub fn new(format: FileFormat, rolling: Rolling, log: &dyn Log, _context: &SinkContext) -> Result<Self> {
        let mut roller = Self { format, rolling, ratio: 1.0, oldest_ms: None };
        if roller.rolling.removes() {
            roller.oldest_ms = log.files()?.iter().filter_map(|f| f.at).min();
        }
        Ok(roller)
    }

    /// Whether it is time to roll.
    pub fn is_due(&self, state: &State, now_ms: i64) -> bool {
        self.rolling.is_due(state, self.ratio, now_ms)
    }

    /// When it is time at the latest.
    pub fn deadline(&self, state: &State) -> Option<i64> {
        self.rolling.deadline(state)
    }

    /// Puts all rows that wait into files, in one step.
    ///
    /// # Errors
    /// A disk or store that fails; rows that cannot be read.
    pub fn roll(&mut self, log: &mut dyn Log, context: &SinkContext) -> Result<()> {
        let rolled: Vec<String> = log.state().pending.iter().map(|p| p.file.name.clone()).collect();
        if rolled.is_empty() {
            return Ok(());
        }
        let before = log.state().pending_bytes();
        let written = self.write(&rolled, log, context)?;
        let files = log.stage(written, Kind::Visible)?;
        context.failpoints.hit("filesink.roll_staged")?;
        let after: u64 = files.iter().map(|f| f.size).sum();
        self.ratio = (after as f64 / before.max(1) as f64).max(0.001);
        let at = Some(context.clock.now_ms());
        self.oldest_ms = self.oldest_ms.or(at);
        log.append(Line { files, rolled, at, ..Line::default() })?;
        context.failpoints.hit("filesink.rolled")
    }

    /// Writes the rows of some files that wait. Those of other columns than the ones before, from a query that was
    /// changed, go into files of their own.
    fn write(&self, names: &[String], log: &dyn Log, context: &SinkContext) -> Result<Vec<Written>> {
        let folder = log.workplace(Kind::Visible);
        let last = log.last().map_or(0, |last| last.batch_id);
        let extension = self.format.extension();
        let name = |folder: &str| super::file_name(folder, last, &extension);
        let path = |name: &str| target::staged_path(&folder, name);
        let limit = self.rolling.max_size().map(|max| (max as f64 / self.ratio) as u64);
        let mut all = vec![];
        let mut open: Option<(arrow::datatypes::SchemaRef, FilesByFolder<'_, _, _>)> = None;
        for pending_name in names {
            let (schema, rows) = pending::read(log.pending(pending_name)?, file_name(pending_name))?;
            if open.as_ref().is_none_or(|(current, _)| *current != schema) {
                all.extend(open.take().map(|(_, files)| files.finish().1).unwrap_or_default());
                let files = FilesByFolder::new(&self.format, schema.clone(), context.time_zone, &name, &path)?;
                open = Some((schema, files.with_limit(limit)));
            }
            if let Some((_, files)) = &mut open {
                for rows in rows {
                    files.write(&rows?)?;
                }
            }
        }
        all.extend(open.map(|(_, files)| files.finish().1).unwrap_or_default());
        Ok(all)
    }

    /// Removes files that are older than `retention`, if it is time to.
    ///
    /// # Errors
    /// A disk or store that fails.
    pub fn remove_old(&mut self, log: &mut dyn Log, now_ms: i64) -> Result<()> {
        if self.rolling.removes() && self.oldest_ms.is_none() {
            self.oldest_ms = Some(now_ms);
        }
        let Some(before) = self.rolling.removes_before(self.oldest_ms, now_ms) else { return Ok(()) };
        let (old, kept): (Vec<_>, Vec<_>) = log.files()?.into_iter().partition(|f| f.at.is_some_and(|at| at < before));
        self.oldest_ms = kept.iter().filter_map(|f| f.at).min();
        if old.is_empty() {
            return Ok(());
        }
        let removed = old.into_iter().map(|f| f.file.name).collect();
        log.append(Line { removed, at: Some(now_ms), ..Line::default() })
    }
}
