//! Sinks by the name of their format.

use std::sync::Arc;

use super::file::FileFormatKind;
use super::{ConsoleSink, ConsoleWriter, FileSink, MemorySink, NoopSink, Sink};
use crate::error::{Error, Result};
use crate::options::{OptionReader, Options, did_you_mean};

/// What `USING` and `.format(…)` take for sinks.
const FORMATS: [&str; 7] = ["console", "csv", "json", "memory", "noop", "parquet", "text"];

/// The sink of `format` with `options`; `name` is the name of the sink, or of the query if the sink has none.
///
/// # Errors
/// `DATA_SOURCE_NOT_FOUND` for a format there is not; the errors of the sink's options.
pub fn create_sink(format: &str, options: &Options, name: &str) -> Result<Arc<dyn Sink>> {
    let format = format.to_ascii_lowercase();
    Ok(match format.as_str() {
        "console" => Arc::new(ConsoleSink::new(options, ConsoleWriter::stdout())?),
        "memory" => {
            OptionReader::new("the memory sink", options).finish()?;
            Arc::new(MemorySink::new(name))
        }
        "noop" => {
            OptionReader::new("the noop sink", options).finish()?;
            Arc::new(NoopSink)
        }
        other => match FileFormatKind::of(other) {
            Some(kind) => Arc::new(FileSink::new(kind, options)?),
            None => return Err(unknown(other)),
        },
    })
}

fn unknown(format: &str) -> Error {
    let error = Error::invalid("DATA_SOURCE_NOT_FOUND", format!("there is no sink format '{format}'"));
    match did_you_mean(format, FORMATS) {
        Some(near) => error.with_help(format!("did you mean '{near}'?")),
        None => error.with_help(format!("there are: {}", FORMATS.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_format_names_the_nearest() {
        let e = create_sink("parket", &Options::new(), "s").unwrap_err();
        assert_eq!((e.condition(), e.help()), ("DATA_SOURCE_NOT_FOUND", Some("did you mean 'parquet'?")));
    }

    #[test]
    fn options_are_checked_when_the_sink_is_made() {
        for (format, key) in [("console", "rows"), ("memory", "path"), ("noop", "x"), ("csv", "header")] {
            let e = create_sink(format, &Options::from_iter([(key, "true")]), "s").unwrap_err();
            assert!(["UNKNOWN_OPTION", "MISSING_OPTION"].contains(&e.condition()), "{format}: {e}");
        }
        assert_eq!(
            create_sink("Console", &Options::new(), "s").unwrap().description(),
            "ConsoleSink[numRows=20, truncate=true]"
        );
    }
}
