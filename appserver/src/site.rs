//! How this node shows itself: name, letter, colour, the list of its applications. Colour never stands alone: a letter
//! goes with it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Mode};

/// The looks of a node, and the limits that its handlers need.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its name, `TomcatA`.
    pub node: String,
    /// The page's heading, `TomcatA.magedu.com`.
    pub heading: String,
    /// Its letter.
    pub letter: char,
    /// Its colour, `#FF0000`.
    pub colour: String,
    /// Black or white, whichever is easier to read on the colour.
    pub on_colour: &'static str,
    /// Path of the application that shows it; empty above them.
    pub context: String,
    /// Paths of all applications.
    pub contexts: Vec<String>,
    /// How sessions are kept.
    pub mode: &'static str,
    /// `primaryIndicator`: whether requests tell if this node served their session last.
    pub tells_primary: bool,
    /// The longest wait that may be asked for.
    pub slow_max: std::time::Duration,
    /// The largest form in bytes.
    pub max_post_size: usize,
    /// The longest time for a form to arrive.
    pub body_timeout: std::time::Duration,
}

impl Site {
    /// The node of these settings.
    pub fn new(config: &Config) -> Self {
        let letter = letter(&config.node_id);
        let colour = config.colour.0.unwrap_or_else(|| colour_of(letter));
        let heading = if config.domain.is_empty() {
            config.node_id.clone()
        } else {
            format!("{}.{}", config.node_id, config.domain)
        };
        Self {
            node: config.node_id.clone(),
            heading,
            letter,
            colour: colour.to_string(),
            on_colour: colour.readable(),
            context: String::new(),
            contexts: config.contexts.clone(),
            mode: config.mode.name(),
            tells_primary: matches!(config.mode, Mode::Cluster | Mode::Backup)
                && config.cluster.valve.primary_indicator,
            slow_max: config.slow_max.into(),
            max_post_size: config.max_post_size.bytes(),
            body_timeout: config.body_timeout.into(),
        }
    }
}

/// The last letter or digit of the name, in upper case.
fn letter(node_id: &str) -> char {
    let last = node_id.chars().rev().find(char::is_ascii_alphanumeric);
    last.map_or('?', |c| c.to_ascii_uppercase())
}

/// The article's red and blue, then the palette of Okabe and Ito in the order of its contrast to white, without the
/// yellow that nobody can read there. With more nodes than colours the letter alone tells them apart.
const PALETTE: [Rgb; 9] = [
    Rgb(0xFF, 0x00, 0x00),
    Rgb(0x00, 0x00, 0xFF),
    Rgb(0x00, 0x9E, 0x73),
    Rgb(0xD5, 0x5E, 0x00),
    Rgb(0xCC, 0x79, 0xA7),
    Rgb(0x00, 0x72, 0xB2),
    Rgb(0xE6, 0x9F, 0x00),
    Rgb(0x56, 0xB4, 0xE9),
    Rgb(0x00, 0x00, 0x00),
];

fn colour_of(letter: char) -> Rgb {
    let number = match letter {
        'A'..='Z' => u32::from(letter) - u32::from('A'),
        '1'..='9' => u32::from(letter) - u32::from('1'),
        _ => 8,
    };
    PALETTE[number as usize % PALETTE.len()]
}

/// A colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rgb(pub u8, pub u8, pub u8);

impl Rgb {
    /// Black or white, whichever has the higher contrast (WCAG 2, relative luminance).
    pub fn readable(self) -> &'static str {
        let channel = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 {
                c / 12.92
            } else {
                ((c + 0.055) / 1.055).powf(2.4)
            }
        };
        let luminance =
            0.2126 * channel(self.0) + 0.7152 * channel(self.1) + 0.0722 * channel(self.2);
        if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) {
            "#000000"
        } else {
            "#FFFFFF"
        }
    }
}

impl fmt::Display for Rgb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{:02X}{:02X}{:02X}", self.0, self.1, self.2)
    }
}

/// The colour setting: empty, or `#RRGGBB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Colour(pub Option<Rgb>);

/// Text that is not a colour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a colour: write #RRGGBB, such as #009E73, or nothing for the colour of the node's letter"
)]
pub struct ColourError(String);

impl FromStr for Colour {
    type Err = ColourError;

    fn from_str(text: &str) -> Result<Self, ColourError> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let digits = text
            .strip_prefix('#')
            .filter(|d| d.len() == 6 && d.bytes().all(|b| b.is_ascii_hexdigit()));
        let number = digits.and_then(|d| u32::from_str_radix(d, 16).ok());
        let [_, red, green, blue] = number
            .ok_or_else(|| ColourError(text.to_owned()))?
            .to_be_bytes();
        Ok(Self(Some(Rgb(red, green, blue))))
    }
}

impl Serialize for Colour {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.map(|c| c.to_string()).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Colour, Rgb, Site};
    use crate::config::Config;

    #[test]
    fn each_node_has_its_letter_and_colour() {
        for (node, letter, colour, on) in [
            ("TomcatA", 'A', "#FF0000", "#000000"),
            ("TomcatB", 'B', "#0000FF", "#FFFFFF"),
            ("TomcatC", 'C', "#009E73", "#000000"),
            ("web-d", 'D', "#D55E00", "#000000"),
            ("app3", '3', "#009E73", "#000000"),
            ("TomcatJ", 'J', "#FF0000", "#000000"),
        ] {
            let site = Site::new(&Config {
                node_id: node.into(),
                ..Config::default()
            });
            assert_eq!(
                (site.letter, site.colour.as_str(), site.on_colour),
                (letter, colour, on),
                "{node}"
            );
        }
    }

    #[test]
    fn colours_are_read() {
        assert_eq!("#00fF7f".parse(), Ok(Colour(Some(Rgb(0, 255, 127)))));
        assert_eq!("".parse(), Ok(Colour(None)));
        for text in ["red", "#FFF", "#GGGGGG", "FF0000", "#+12345"] {
            assert!(text.parse::<Colour>().is_err(), "{text}");
        }
    }
}
