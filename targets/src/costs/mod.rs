//! Cost tables: those of the levels, and the file form of all of them (`onnxc tune-kernels`, `--cost`).
//!
//! A table is TOML: what it was made for and with, the rates of each kernel row in nanoseconds ([`onnxc_compiler::base::costs`]), and times
//! of single queries. Those of the levels lie beside this file, as the tool wrote them; their queries are left out.

use std::collections::BTreeMap;

use onnxc_compiler::base::costs::{Costs, PARTS, Rates};
use onnxc_compiler::base::diag::{Diagnostic, Result};
use onnxc_compiler::contracts;
use serde::{Deserialize, Serialize};

use crate::Arch;
use crate::vector::ir::Level;

/// Version of the form.
const FORMAT: u32 = 1;
/// No kernel call and no part of one takes longer: an hour in nanoseconds.
const MOST: f64 = 3.6e12;

/// A table and where it comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// Architecture.
    pub arch: Arch,
    /// The CPU or level that was compiled for.
    pub cpu: String,
    /// The processor that was measured, in words.
    pub machine: String,
    /// Its features.
    pub features: Vec<String>,
    /// What kernels cost.
    pub costs: Costs,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    arch: String,
    cpu: String,
    machine: String,
    features: Vec<String>,
    rates: BTreeMap<String, BTreeMap<String, f64>>,
    #[serde(default)]
    measured: BTreeMap<String, BTreeMap<String, f64>>,
}

fn bad(why: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::usage("USE008", format!("not a cost table: {why}"))
        .help("`onnxc tune-kernels -o FILE` writes one")
}

/// Every row that a table may name.
fn rows() -> impl Iterator<Item = &'static str> {
    contracts::ALL.iter().flat_map(|c| c.rows).map(|r| r.name)
}

/// Rows that are measured. Those over whole numbers are compared by what is true of every machine, and narrow weights are taken where they are worth it.
#[cfg(test)]
fn measured_rows() -> impl Iterator<Item = &'static str> {
    let measured = contracts::ALL
        .iter()
        .filter(|c| !c.name.ends_with("_integer") && c.name != "lookup");
    let rows = measured.flat_map(|c| c.rows).map(|r| r.name);
    rows.filter(|r| !r.contains("_narrow_"))
}

impl Table {
    /// Reads a table.
    pub fn parse(text: &str) -> Result<Table> {
        let f: File = toml::from_str(text).map_err(|e| bad(e.to_string().trim_end()))?;
        if f.format != FORMAT {
            return Err(bad(format!(
                "it has format {}, known is {FORMAT}",
                f.format
            )));
        }
        let arch = [Arch::X86_64, Arch::Aarch64]
            .into_iter()
            .find(|a| a.name() == f.arch);
        let arch = arch.ok_or_else(|| bad(format!("`arch = {:?}` is not known", f.arch)))?;
        let known = |row: &str| match rows().any(|r| r == row) {
            true => Ok(()),
            false => Err(bad(format!("`{row}` is no kernel row"))),
        };
        let number = |place: &str, n: f64| match (0.0..=MOST).contains(&n) {
            true => Ok(n),
            false => Err(bad(format!("{place} = {n}"))),
        };
        let mut rates = BTreeMap::new();
        for (row, parts) in f.rates {
            known(&row)?;
            let mut list: Rates = [0.0; PARTS.len()];
            for (part, n) in parts {
                let place = PARTS.iter().position(|p| *p == part);
                let place = place.ok_or_else(|| bad(format!("`{part}` of `{row}` is no part")))?;
                list[place] = number(&format!("{row}.{part}"), n)?;
            }
            rates.insert(row, list);
        }
        for (query, times) in &f.measured {
            for (row, n) in times {
                known(row)?;
                number(&format!("{row} of \"{query}\""), *n)?;
            }
        }
        Ok(Table {
            arch,
            cpu: f.cpu,
            machine: f.machine,
            features: f.features,
            costs: Costs {
                rates,
                measured: f.measured,
            },
        })
    }

    /// The table as text.
    pub fn print(&self) -> Result<String> {
        let rates = self.costs.rates.iter().map(|(row, list)| {
            let parts = PARTS.iter().zip(list).filter(|(_, n)| **n > 0.0);
            let parts = parts.map(|(p, n)| (p.to_string(), *n)).collect();
            (row.clone(), parts)
        });
        let file = File {
            format: FORMAT,
            arch: self.arch.name().to_string(),
            cpu: self.cpu.clone(),
            machine: self.machine.clone(),
            features: self.features.clone(),
            rates: rates.collect(),
            measured: self.costs.measured.clone(),
        };
        let text = toml::to_string(&file)
            .map_err(|e| Diagnostic::internal(format!("writing a cost table: {e}")))?;
        Ok(format!(
            "# What kernels cost, in nanoseconds. Made by `onnxc tune-kernels`.\n{text}"
        ))
    }
}

/// The table of a level, whose CPU may do the widest vectors in halves; where none was measured, what is true of every machine.
pub fn of(level: Level, halves: bool) -> Costs {
    let text = match level {
        Level::Avx2 => include_str!("avx2.toml"),
        Level::Avx512 if halves => include_str!("zen4.toml"),
        Level::Avx512 => include_str!("avx512.toml"),
        Level::Sse2 | Level::Neon => return Costs::default(),
    };
    // The tests read all of them.
    Table::parse(text).map(|t| t.costs).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_levels_are_read_and_name_every_row() {
        for (level, halves) in [
            (Level::Avx2, false),
            (Level::Avx512, false),
            (Level::Avx512, true),
        ] {
            let costs = of(level, halves);
            assert!(costs.measured.is_empty());
            for row in measured_rows() {
                assert!(costs.rates.contains_key(row), "{level:?} lacks {row}");
            }
        }
        let generic = onnxc_compiler::base::costs::GENERIC;
        for row in rows() {
            assert!(generic.iter().any(|g| g.0 == row), "{row}");
        }
    }

    #[test]
    fn text_round_trips() {
        let t = Table {
            arch: Arch::Aarch64,
            cpu: "cortex-a76".into(),
            machine: "a board".into(),
            features: vec!["neon".into()],
            costs: Costs {
                rates: BTreeMap::from([("conv_loops".into(), [0.0, 1.5, 0.0, 0.0, 0.25])]),
                measured: BTreeMap::from([(
                    "gemm 1x2 2x3".into(),
                    BTreeMap::from([("gemm_loops".into(), 12.0)]),
                )]),
            },
        };
        assert_eq!(Table::parse(&t.print().unwrap()).unwrap(), t);
    }

    #[test]
    fn nonsense_is_named() {
        let good = "format = 1\narch = \"x86_64\"\ncpu = \"\"\nmachine = \"\"\nfeatures = []\n";
        for (text, why) in [
            ("", "format"),
            ("format = 2\n[[", "line 2"),
            (
                &format!("{good}[rates.conv_lops]\nmac = 1.0\n"),
                "conv_lops",
            ),
            (&format!("{good}[rates.conv_loops]\nmca = 1.0\n"), "mca"),
            (
                &format!("{good}[rates.conv_loops]\nmac = -1.0\n"),
                "conv_loops.mac",
            ),
            (
                &format!("{good}[rates.conv_loops]\nmac = nan\n"),
                "conv_loops.mac",
            ),
            (
                &format!("{good}[rates.conv_loops]\nmac = 1e300\n"),
                "conv_loops.mac",
            ),
            (&format!("{good}[rates.conv_loops]\nmac = \"1\"\n"), "mac"),
            (
                &format!("{}[rates]\n", good.replace("x86_64", "riscv")),
                "riscv",
            ),
            (
                &format!("{}[rates]\n", good.replace("format = 1", "format = 9")),
                "9",
            ),
            (&format!("{good}colour = 1\n[rates]\n"), "colour"),
            (
                &format!("{good}[rates]\n[measured.q]\nconv_loops = inf\n"),
                "conv_loops",
            ),
        ] {
            let e = Table::parse(text).expect_err(why);
            assert!(e.message.contains(why), "{why}: {}", e.message);
        }
    }
}
