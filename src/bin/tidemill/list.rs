//! `tidemill list`: what can be read, written and called, for people and as JSON.

use clap::ValueEnum;
use serde_json::{Value, json};
use tidemill::{Connector, Connectors, Role, did_you_mean, function_reference};

use crate::WRONG;
use crate::cli::{ListArgs, Listed};
use crate::output::{print, say};

/// Prints the list; the exit code.
pub fn list(args: &ListArgs) -> u8 {
    let shown = match args.what {
        Listed::Functions => functions(args),
        Listed::Sources => connectors(args, |c| c.roles().contains(&Role::Stream) || c.roles().contains(&Role::Table)),
        Listed::Sinks => connectors(args, |c| c.roles().contains(&Role::Sink)),
        Listed::Formats => connectors(args, |c| c.is_format()),
    };
    match shown {
        Ok(text) => print(&text),
        Err(message) => {
            say(&format!("error: {message}"));
            WRONG
        }
    }
}

/// The connectors of a kind, or one of them with its options.
fn connectors(args: &ListArgs, is_listed: impl Fn(&dyn Connector) -> bool) -> Result<String, String> {
    let all = Connectors::default();
    let listed = || all.iter().map(AsRef::as_ref).filter(|c| is_listed(*c));
    let wanted: Vec<&dyn Connector> = match &args.name {
        None => listed().collect(),
        Some(name) => {
            let found = listed().find(|c| c.name().eq_ignore_ascii_case(name));
            vec![found.ok_or_else(|| unknown(args.what, name, listed().map(Connector::name)))?]
        }
    };
    if args.json {
        return Ok(pretty(&wanted.iter().map(|c| c.describe()).collect()));
    }
    Ok(match (&args.name, wanted.as_slice()) {
        (Some(_), [one]) => one.to_text(),
        _ => columns(wanted.iter().map(|c| [c.name(), c.help()])),
    })
}

fn functions(args: &ListArgs) -> Result<String, String> {
    let all = function_reference();
    let wanted: Vec<_> = match &args.name {
        None => all.iter().collect(),
        Some(name) => {
            let found = all.iter().find(|e| e.name.eq_ignore_ascii_case(name));
            vec![found.ok_or_else(|| unknown(args.what, name, all.iter().map(|e| e.name)))?]
        }
    };
    if args.json {
        let entry = |e: &&tidemill::FunctionReference| json!({ "name": e.name, "group": e.group, "call": e.call, "returns": e.returns, "help": e.meaning, "example": e.example, "result": e.result });
        return Ok(pretty(&wanted.iter().map(entry).collect()));
    }
    Ok(columns(wanted.iter().map(|e| [e.call, e.meaning])))
}

fn unknown<'n>(what: Listed, name: &str, names: impl Iterator<Item = &'n str>) -> String {
    let what = what.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
    let near = did_you_mean(name, names).map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
    format!("there is no '{name}' among the {what}{near}")
}

fn pretty(values: &Vec<Value>) -> String {
    serde_json::to_string_pretty(values).unwrap_or_default() + "\n"
}

/// Two columns, the first as wide as it needs to be, but not wider than half a line.
fn columns<'t>(rows: impl Iterator<Item = [&'t str; 2]>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|[name, _]| name.chars().count()).max().unwrap_or(0).min(40);
    rows.iter().map(|[name, help]| format!("{name:width$}  {help}\n")).collect()
}
