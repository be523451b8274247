//! Records: lines of CSV that say what was measured when, on which CPU, and what it came to.
//!
//! `benches/record/<date>-<machine>.csv` are made of them. Columns: [`COLUMNS`]. A file that does not begin with them is not
//! added to.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use onnxc_compiler::base::diag::{Diagnostic, Result};

use super::against::Duel;
use super::clock::Times;
use super::subject::Subject;
use crate::failure::file_error;
use crate::machine::Machine;

/// The first line of a record.
pub const COLUMNS: &str = "date,cpu,level,threads,what,shape,ns,gflops,share_of_peak,peer,ratio";

/// One measurement.
#[derive(Clone, Debug)]
pub struct Row {
    /// Model or kernel.
    pub what: String,
    /// Sizes, as far as the name does not say them.
    pub shape: String,
    /// Threads.
    pub threads: u32,
    /// The shortest time.
    pub ns: f64,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Part of the machine's measured peak, if that was measured.
    pub share: Option<f64>,
    /// Another runtime, and our time over its.
    pub peer: Option<(String, f64)>,
}

impl Row {
    /// A model's.
    pub fn of(subject: &Subject, threads: u32, times: &Times) -> Row {
        Row {
            what: subject.name(),
            shape: String::new(),
            threads,
            ns: times.min(),
            macs: subject.macs(),
            share: None,
            peer: None,
        }
    }

    fn text(&self, date: &str, cpu: &str, level: &str) -> String {
        let number = |n: Option<f64>| n.map_or(String::new(), |n| format!("{n:.4}"));
        let (peer, ratio) = match &self.peer {
            Some((name, ratio)) => (name.as_str(), Some(*ratio)),
            None => ("", None),
        };
        let cells = [
            date.to_string(),
            quoted(cpu),
            quoted(level),
            self.threads.to_string(),
            quoted(&self.what),
            quoted(&self.shape),
            format!("{:.0}", self.ns),
            format!("{:.2}", super::gflops(self.macs, self.ns)),
            number(self.share),
            quoted(peer),
            number(ratio),
        ];
        cells.join(",") + "\n"
    }
}

/// A model's rows, one for each peer that was measured beside it.
pub fn against(subject: &Subject, threads: u32, d: &Duel) -> Vec<Row> {
    let row = Row::of(subject, threads, &d.ours);
    let sides = d.sides.iter().filter_map(|s| {
        let figures = s.result.as_ref().ok()?;
        Some((s.name.clone(), figures.ratio_min))
    });
    let rows: Vec<Row> = sides
        .map(|peer| Row {
            peer: Some(peer),
            ..row.clone()
        })
        .collect();
    if rows.is_empty() { vec![row] } else { rows }
}

/// A cell, in quotes where it must be.
pub fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

/// Appends rows to a file, if one is asked for.
pub fn append(path: Option<&Path>, machine: &Machine, rows: &[Row]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let old = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(file_error("read", path, e)),
    };
    if !old.is_empty() && old.lines().next() != Some(COLUMNS) {
        return Err(Diagnostic::usage(
            "USE002",
            format!("`{}` is no record: other columns", path.display()),
        ));
    }
    let mut text = String::new();
    if old.is_empty() {
        text += COLUMNS;
        text.push('\n');
    } else if !old.ends_with('\n') {
        text.push('\n');
    }
    let (date, cpu, level) = (today(), cpu(), super::level(machine));
    rows.iter()
        .for_each(|r| text += &r.text(&date, &cpu, &level));
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .map_err(|e| file_error("write", path, e))
}

/// What the system calls the CPU.
pub fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name))?;
        line.split_once(':').map(|(_, v)| v.trim().to_string())
    };
    let Some(name) = field("model name") else {
        return std::env::consts::ARCH.to_string();
    };
    match (field("cpu family"), field("model\t")) {
        (Some(family), Some(model)) => format!("{name} (family {family}, model {model})"),
        _ => name,
    }
}

/// Today's date, UTC.
fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let (y, m, d) = date((since.map_or(0, |s| s.as_secs()) / 86_400) as i64);
    format!("{y:04}-{m:02}-{d:02}")
}

/// Year, month and day of a number of days after 1970-01-01: years are counted from March, so that leap days are last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (d, m) = (
        day - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    (year + era * 400 + i64::from(m <= 2), m, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_783), (2026, 11, 26));
    }

    #[test]
    fn rows_are_lines_of_csv() {
        let row = Row {
            what: "a,b".into(),
            shape: "1x\"2\"".into(),
            threads: 2,
            ns: 1000.4,
            macs: 5000,
            share: None,
            peer: Some(("ort 1".into(), 0.5)),
        };
        assert_eq!(
            row.text("d", "c", "l"),
            "d,c,l,2,\"a,b\",\"1x\"\"2\"\"\",1000,10.00,,ort 1,0.5000\n"
        );
        assert_eq!(
            row.text("", "", "").split(',').count() - 1,
            COLUMNS.split(',').count()
        );
    }
}
