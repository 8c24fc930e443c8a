//! The option `locale`: how decimals are written in a language. Dates by pattern are those of English alone.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// The signs in the decimals of a locale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locale {
    grouping: char,
    point: char,
    is_us: bool,
}

/// Languages, with or without a country, by the signs that Java 17 has for them.
const POINTS_AND_COMMAS: [&str; 20] = [
    "de", "de-DE", "es", "es-ES", "it", "it-IT", "nl", "nl-NL", "pt-BR", "da", "da-DK", "tr", "tr-TR", "id-ID",
    "el-GR", "ro-RO", "el", "ro", "id", "pt",
];
const BLANKS_AND_COMMAS: [&str; 10] = ["de-AT", "pt-PT", "ru", "ru-RU", "pl", "pl-PL", "cs", "cs-CZ", "hu", "hu-HU"];
const NARROW_BLANKS_AND_COMMAS: [&str; 2] = ["fr", "fr-FR"];
const ENGLISH: [&str; 6] = ["en", "en-GB", "en-AU", "ja-JP", "zh-CN", "ko-KR"];

/// What [`Locale::read`] reads.
pub const OPTIONS: [OptionSpec; 1] = [OptionSpec::new(
    "locale",
    OptionType::Text,
    "The language of decimals, such as de-DE; names in patterns of dates are English.",
)
.or("en-US")];

impl Locale {
    /// `en-US`.
    pub const US: Self = Self { grouping: ',', point: '.', is_us: true };

    /// Reads `locale`.
    ///
    /// # Errors
    /// `UNSUPPORTED_FEATURE` for a locale that is not known, and for names of months and the like in another language than English.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let Some(name) = options.string("locale") else { return Ok(Self::US) };
        let is_in = |names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        let with = |grouping, point| Self { grouping, point, is_us: false };
        let locale = match name {
            _ if name.eq_ignore_ascii_case("en-US") => return Ok(Self::US),
            _ if is_in(&ENGLISH) => with(',', '.'),
            _ if is_in(&POINTS_AND_COMMAS) => with('.', ','),
            _ if is_in(&BLANKS_AND_COMMAS) => with('\u{A0}', ','),
            _ if is_in(&NARROW_BLANKS_AND_COMMAS) => with('\u{202F}', ','),
            _ => {
                let message = format!("option 'locale' is '{name}', which is not known");
                return Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                    .with_help("read the column as STRING, and convert it by to_number(…) or to_date(…)"));
            }
        };
        let words = |pattern: &str| {
            pattern.contains(['E', 'a', 'G', 'z', 'B']) || pattern.contains("MMM") || pattern.contains("LLL")
        };
        let patterns = ["dateFormat", "timestampFormat", "timestampNTZFormat"];
        if let Some(key) = patterns.into_iter().find(|key| options.string(key).is_some_and(words)) {
            let message = format!(
                "option '{key}' has names of months or days, which are read in English, not as '{name}' has them"
            );
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                .with_help("leave 'locale' out, or read the column as STRING"));
        }
        if options.given("inferSchema").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            let message = format!("option 'inferSchema' beside locale '{name}' is not supported");
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", message).with_help("declare the columns"));
        }
        Ok(locale)
    }

    /// A decimal as `BigDecimal` reads it; `None` if it is not one of the locale.
    pub fn plain(self, text: &str) -> Option<Cow<'_, str>> {
        if self.is_us {
            // Commas are left out wherever they are, as Spark does in this locale.
            return Some(if text.contains(',') { text.replace(',', "").into() } else { text.into() });
        }
        let (whole, rest) =
            text.find(self.point).map_or((text, ""), |at| (&text[..at], &text[at + self.point.len_utf8()..]));
        // What is behind an exponent belongs to it.
        let (whole, exponent) = match whole.find('E') {
            Some(at) if rest.is_empty() => whole.split_at(at),
            _ => (whole, ""),
        };
        if whole.ends_with(self.grouping) || rest.contains(self.grouping) {
            return None;
        }
        let digits = whole.strip_prefix('-').unwrap_or(whole);
        let is_number = |c: char| c.is_ascii_digit() || c == self.grouping;
        let is_rest = rest.chars().all(|c| c.is_ascii_digit() || "E-".contains(c));
        if !digits.chars().all(is_number) || !is_rest {
            return None;
        }
        let whole: String = whole.chars().filter(|c| *c != self.grouping).collect();
        Some(format!("{whole}.{rest}{exponent}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn locale(name: &str) -> Result<Locale> {
        let options = Options::from_iter([("locale", name)]);
        Locale::read(&mut OptionReader::new("the test", &options, crate::function::csv::options::READING))
    }

    #[test]
    fn decimals_of_other_languages() {
        let german = locale("de-DE").unwrap();
        for (text, expected) in [
            ("1.000,5", Some("1000.5")),
            ("-1,25", Some("-1.25")),
            ("1", Some("1.")),
            (",5", Some(".5")),
            ("1.5", Some("15.")),
            ("1,5.0", None),
            ("+1", None),
            ("x", None),
            ("1.", None),
        ] {
            assert_eq!(german.plain(text).as_deref(), expected, "{text}");
        }
        assert_eq!(Locale::US.plain("1,000.5").as_deref(), Some("1000.5"));
        assert_eq!(locale("fr").unwrap().plain("1\u{202F}000,5").as_deref(), Some("1000.5"));
        assert_eq!(locale("xx-YY").unwrap_err().condition(), "UNSUPPORTED_FEATURE");
    }
}
