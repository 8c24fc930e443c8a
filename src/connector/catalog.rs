//! Connectors and their options for people: `tidemill list`, and the tables of the documentation.

use serde_json::{Value, json};

use super::{Connector, Connectors, Role};
use crate::options::OptionSpec;
use crate::store;

impl dyn Connector + '_ {
    /// It as JSON: its name, what it is, and its options in each role.
    pub fn describe(&self) -> Value {
        let options = |role: Role| self.options(role).iter().map(option).collect::<Vec<_>>();
        let roles = self.roles().iter().map(|role| (role.to_string(), json!({ "options": options(*role) })));
        json!({
            "name": self.name(),
            "help": self.help(),
            "isFormat": self.is_format(),
            "roles": Value::Object(roles.collect()),
        })
    }

    /// It as text, with the options of each role.
    pub fn to_text(&self) -> String {
        let mut out = format!("{}: {}\n", self.name(), self.help());
        for (roles, specs) in by_role(self) {
            out.push_str(&format!("\nas {roles}{}\n", if specs.is_empty() { ": no options" } else { ":" }));
            let width = specs.iter().map(|spec| spec.name.len()).max().unwrap_or(0);
            for spec in specs {
                let default = default_of(&spec).map(|text| format!("; {text}")).unwrap_or_default();
                out.push_str(&format!("  {:width$}  {} [{}{default}]\n", spec.name, spec.help, spec.option_type));
            }
        }
        out
    }
}

impl Connectors {
    /// All connectors as Markdown: a section for each, with a table of options for each role.
    pub fn to_markdown(&self) -> String {
        let of_stores: String = store::OPTIONS.iter().map(row).collect();
        let stores = format!(
            "## Paths in stores\n\nWherever files are read or written, for paths of [object stores](sql.md#object-stores).\n\n{TABLE}{of_stores}"
        );
        let connectors = self.iter().map(|connector| markdown(connector.as_ref()));
        connectors.chain([stores]).collect::<Vec<_>>().join("\n")
    }
}

fn option(spec: &OptionSpec) -> Value {
    json!({
        "name": spec.name,
        "type": spec.option_type.to_string(),
        "default": spec.default,
        "required": spec.is_required,
        "help": spec.help,
    })
}

/// The options of each role; roles with the same ones together.
fn by_role(connector: &dyn Connector) -> Vec<(String, Vec<OptionSpec>)> {
    let mut groups: Vec<(String, Vec<OptionSpec>)> = vec![];
    for role in connector.roles() {
        let specs = connector.options(*role);
        match groups.iter_mut().find(|(_, known)| *known == specs) {
            Some((roles, _)) => roles.push_str(&format!(", {role}")),
            None => groups.push((role.to_string(), specs)),
        }
    }
    groups
}

fn default_of(spec: &OptionSpec) -> Option<String> {
    match (spec.is_required, spec.default) {
        (true, _) => Some("must be given".to_owned()),
        (false, Some("")) => Some("nothing by default".to_owned()),
        (false, default) => default.map(|text| format!("{text} by default")),
    }
}

const TABLE: &str = "| option | value | default | meaning |\n|---|---|---|---|\n";

fn markdown(connector: &dyn Connector) -> String {
    let mut out = format!("## {}\n\n{}\n", connector.name(), connector.help());
    for (roles, specs) in by_role(connector) {
        if specs.is_empty() {
            out.push_str(&format!("\nAs {roles}: no options.\n"));
            continue;
        }
        let (of_stores, own): (Vec<_>, Vec<_>) = specs.iter().partition(|spec| store::OPTIONS.contains(spec));
        out.push_str(&format!("\nAs {roles}:\n\n{TABLE}"));
        own.iter().for_each(|spec| out.push_str(&row(spec)));
        if !of_stores.is_empty() {
            out.push_str("\nAnd those of [paths in stores](#paths-in-stores).\n");
        }
    }
    out
}

fn row(spec: &OptionSpec) -> String {
    let default = match (spec.is_required, spec.default) {
        (true, _) => "must be given".to_owned(),
        (false, Some("")) => "nothing".to_owned(),
        (false, Some(text)) => format!("`{text}`"),
        (false, None) => String::new(),
    };
    format!("| `{}` | {} | {default} | {} |\n", spec.name, spec.option_type, spec.help.replace('|', "\\|"))
}
