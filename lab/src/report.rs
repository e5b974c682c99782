//! Results as a table for the terminal, as Markdown and as JSON. Pure.

use serde::Serialize;

use crate::check::anomaly::Counts;
use crate::mode::Mode;
use crate::scenario::{About, Finding, Verdict};

/// The name and version of the JSON that `lab run --json` prints.
pub const SCHEMA: &str = "lnmt-lab/run/1";

/// A table is this wide unless the terminal says otherwise (`COLUMNS`).
pub const WIDTH: usize = 140;

/// One scenario and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// `C1`, or the fault of the expectation table.
    pub claim: &'static str,
    /// The mode that it played in.
    pub mode: Mode,
    /// The claim in a sentence.
    pub statement: &'static str,
    /// What was expected to be seen.
    pub expected: &'static str,
    /// The verdict that follows when it is.
    pub expected_verdict: Verdict,
    /// What was seen.
    pub observed: String,
    /// What became of the claim.
    pub verdict: Verdict,
    /// Whether that is what was expected.
    pub as_expected: bool,
    /// One sentence with the figures.
    pub why: String,
    /// Requests in the history.
    pub requests: usize,
    /// Anomalies in the history, by code.
    pub anomalies: Counts,
    /// How long it took.
    pub seconds: f64,
}

impl Row {
    /// The row of a scenario that was played and judged.
    pub fn new(about: About, finding: Finding) -> Self {
        Self {
            scenario: about.name,
            claim: about.claim,
            mode: about.mode,
            statement: about.statement,
            expected: about.expected,
            expected_verdict: about.verdict,
            observed: finding.observed,
            verdict: finding.verdict,
            as_expected: finding.verdict == about.verdict,
            why: finding.why,
            requests: 0,
            anomalies: Counts::default(),
            seconds: 0.0,
        }
    }

    fn verdict_text(&self) -> String {
        if self.as_expected || self.verdict == Verdict::Unknown {
            return self.verdict.name().to_owned();
        }
        format!(
            "{} (expected: {})",
            self.verdict.name(),
            self.expected_verdict.name()
        )
    }
}

/// How many rows ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// As expected.
    pub as_expected: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not enough was seen.
    pub unknown: usize,
}

impl Summary {
    /// Counts the rows.
    pub fn of(rows: &[Row]) -> Self {
        let unexpected = rows.iter().filter(|row| !row.as_expected);
        let unknown = unexpected
            .clone()
            .filter(|row| row.verdict == Verdict::Unknown)
            .count();
        let failed = unexpected.count() - unknown;
        Self {
            as_expected: rows.len() - failed - unknown,
            failed,
            unknown,
        }
    }

    /// 0 all as expected, 1 a verdict failed, 2 a verdict is unknown and none failed.
    pub fn exit_code(self) -> u8 {
        match (self.failed, self.unknown) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} as expected, {} not as expected, {} unknown",
            self.as_expected, self.failed, self.unknown
        )
    }
}

const HEADS: [&str; 6] = ["Claim", "Mode", "Expected", "Observed", "Verdict", "Why"];

fn cells(row: &Row) -> [String; 6] {
    [
        row.claim.to_owned(),
        row.mode.to_string(),
        row.expected.to_owned(),
        row.observed.clone(),
        row.verdict_text(),
        row.why.clone(),
    ]
}

/// A table for the terminal, `width` characters wide: short columns as wide as they need, sentences wrapped.
pub fn table(rows: &[Row], width: usize) -> String {
    const GAP: usize = 2;
    const SENTENCE_MIN: usize = 16;
    let cells: Vec<[String; 6]> = rows.iter().map(cells).collect();
    let natural = |column: usize, at_most: usize| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths
            .chain([HEADS[column].len()])
            .max()
            .unwrap_or(0)
            .min(at_most)
    };
    let (claim, mode, verdict) = (natural(0, 13), natural(1, 14), natural(4, 11));
    let left = width.saturating_sub(claim + mode + verdict + 5 * GAP);
    // Expected, observed and why share what is left, why getting the most.
    let part = |share: usize| (left * share / 10).max(SENTENCE_MIN);
    let widths = [claim, mode, part(3), part(3), verdict, part(4)];
    let mut text = String::new();
    let heads = HEADS.map(str::to_owned);
    let rule = widths.map(|width| "-".repeat(width));
    for row in [heads, rule].iter().chain(&cells) {
        let wrapped: Vec<Vec<String>> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| wrap(cell, width))
            .collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let parts = wrapped.iter().zip(widths).map(|(cell, width)| {
                format!("{:width$}", cell.get(line).map_or("", String::as_str))
            });
            let line = parts.collect::<Vec<_>>().join(&" ".repeat(GAP));
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    text
}

/// Breaks text at spaces; a word that is too long for a line is broken inside.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        } else if used > 0 {
            line.push(' ');
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        line.extend(word);
    }
    lines.push(line);
    lines
}

/// The same as a Markdown table.
pub fn markdown(rows: &[Row]) -> String {
    let line = |cells: &[String]| {
        let escaped: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", escaped.join(" | "))
    };
    let mut text = line(&HEADS.map(str::to_owned));
    text.push_str("|---|---|---|---|---|---|\n");
    for row in rows {
        text.push_str(&line(&cells(row)));
    }
    text
}

/// Everything about a run, as `--json` prints it and the run folder keeps it.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Version of the lab.
    pub version: &'static str,
    /// When the run began (RFC 3339).
    pub began: String,
    /// `--seed` with this number plays the same again.
    pub seed: u64,
    /// The base URL, or `null` for stages of the lab's own.
    pub base_url: Option<&'a str>,
    /// How many rows ended how.
    pub summary: Summary,
    /// The rows.
    pub results: &'a [Row],
}

#[cfg(test)]
mod tests {
    use super::{Row, Summary, markdown, table, wrap};
    use crate::mode::Mode;
    use crate::scenario::{About, Finding, Verdict};

    fn row(expected: Verdict, verdict: Verdict) -> Row {
        let about = About {
            name: "alternates".into(),
            claim: "C1",
            mode: Mode::RoundRobin,
            statement: "it alternates",
            expected: "A B A B",
            verdict: expected,
            needs_stage: false,
            breaks_nodes: false,
        };
        Row::new(
            about,
            Finding::new(verdict, "A | B and so on and on", "because it is so"),
        )
    }

    #[test]
    fn lines_are_never_wider_than_told() {
        let rows = [row(Verdict::Confirmed, Verdict::Refuted)];
        for width in [100, 140, 200] {
            let table = table(&rows, width);
            assert!(
                table.lines().all(|line| line.chars().count() <= width),
                "{table}"
            );
            for word in ["C1", "round_robin", "refuted", "because"] {
                assert!(table.contains(word), "{word} is in\n{table}");
            }
        }
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("incomprehensible", 6), ["incomp", "rehens", "ible"]);
        assert_eq!(wrap("", 6), [""]);
    }

    #[test]
    fn a_bar_does_not_break_a_markdown_row() {
        let text = markdown(&[row(Verdict::Confirmed, Verdict::Confirmed)]);
        let last = text.lines().last().unwrap_or_default();
        assert!(
            last.contains("A \\| B") && last.ends_with("| confirmed | because it is so |"),
            "{text}"
        );
    }

    #[test]
    fn the_exit_code_says_failed_before_unknown() {
        let good = || row(Verdict::Qualified, Verdict::Qualified);
        let bad = || row(Verdict::Confirmed, Verdict::Qualified);
        let unknown = || row(Verdict::Confirmed, Verdict::Unknown);
        for (rows, code) in [
            (vec![], 0),
            (vec![good()], 0),
            (vec![good(), unknown()], 2),
            (vec![unknown(), bad()], 1),
        ] {
            assert_eq!(
                Summary::of(&rows).exit_code(),
                code,
                "{:?}",
                Summary::of(&rows)
            );
        }
    }
}
