//! Energy of runs, by the meters that Linux has: powercap (RAPL, of the whole package) and hwmon.
//!
//! What a meter counts is all that happens beside the runs too; what the machine takes while nothing runs is measured before, for the same time,
//! and said apart. A machine without a meter that can be read says so: nothing is estimated.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::Loaded;
use crate::failure::Outcome;

/// Where meters are.
const POWERCAP: &str = "/sys/class/powercap";
/// Where others are.
const HWMON: &str = "/sys/class/hwmon";

/// A meter of energy.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// What it measures, as the system calls it.
    pub name: String,
    /// The file with microjoules.
    file: PathBuf,
    /// It begins again from here on.
    wraps: Option<u64>,
}

/// Meters, and why those that are there can't be read.
#[derive(Default, Debug)]
pub struct Meters {
    /// Readable ones.
    pub list: Vec<Meter>,
    /// What can't be read.
    pub refused: Vec<String>,
}

fn word(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_string())
}

fn number(path: &Path) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(path)?;
    let bad = |e| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
    text.trim().parse().map_err(bad)
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut list: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    list.sort();
    list
}

impl Meters {
    /// Those of this machine.
    pub fn find() -> Meters {
        Meters::below(Path::new(POWERCAP), Path::new(HWMON))
    }

    fn below(powercap: &Path, hwmon: &Path) -> Meters {
        let mut all = Meters::default();
        // Zones with one colon are packages; those with two are parts of them, and would count twice.
        let package = |p: &&PathBuf| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            name.matches(':').count() == 1
        };
        for zone in folders(powercap).iter().filter(package) {
            let name = word(&zone.join("name")).unwrap_or_default();
            let wraps = number(&zone.join("max_energy_range_uj")).ok();
            all.try_meter(format!("powercap {name}"), zone.join("energy_uj"), wraps);
        }
        for device in folders(hwmon) {
            let name = word(&device.join("name")).unwrap_or_default();
            for file in folders(&device) {
                let own = file.file_name().unwrap_or_default().to_string_lossy();
                let Some(k) = own
                    .strip_prefix("energy")
                    .and_then(|t| t.strip_suffix("_input"))
                else {
                    continue;
                };
                let label = word(&device.join(format!("energy{k}_label")));
                let label = label.unwrap_or_else(|| k.to_string());
                all.try_meter(format!("hwmon {name} {label}"), file.clone(), None);
            }
        }
        all
    }

    fn try_meter(&mut self, name: String, file: PathBuf, wraps: Option<u64>) {
        match number(&file) {
            Ok(_) => self.list.push(Meter { name, file, wraps }),
            Err(e) => self.refused.push(format!("{}: {e}", file.display())),
        }
    }

    /// Why nothing is measured.
    fn none(&self) -> String {
        match self.refused.first() {
            Some(first) => format!(
                "there are meters, but none may be read ({first}); root may, or whoever the file is given to"
            ),
            None => format!("this machine has none that the system shows ({POWERCAP}, {HWMON})"),
        }
    }
}

impl Meter {
    fn joules(&self, from: u64, to: u64) -> f64 {
        let micro = match self.wraps {
            Some(range) if to < from => (range - from.min(range)).saturating_add(to),
            _ => to.saturating_sub(from),
        };
        micro as f64 / 1e6
    }
}

/// What one meter said.
#[derive(Debug, PartialEq)]
pub struct Energy {
    /// Its name.
    pub meter: String,
    /// Joules for a run, all that the machine takes meanwhile included.
    pub run: f64,
    /// Watts while nothing ran.
    pub idle: f64,
    /// Watts while runs followed each other.
    pub busy: f64,
    /// Joules for a run beyond what is taken while nothing runs.
    pub beyond: f64,
}

/// What was measured, or why nothing.
pub type Measured = Result<Vec<Energy>, String>;

/// Measures runs for so many seconds.
pub fn measure(loaded: &mut Loaded, seconds: f64) -> Outcome<Measured> {
    let meters = Meters::find();
    if meters.list.is_empty() {
        return Ok(Err(meters.none()));
    }
    let read =
        || -> Option<Vec<u64>> { meters.list.iter().map(|m| number(&m.file).ok()).collect() };
    // Meters step a thousand times a second: a second is exact to a part in a thousand.
    let long = Duration::from_secs_f64(seconds.max(1.0));
    let lost = || Err("a meter stopped answering".to_string());
    let (start, Some(idle_from)) = (Instant::now(), read()) else {
        return Ok(lost());
    };
    std::thread::sleep(long);
    let (Some(idle_to), idle_s) = (read(), start.elapsed().as_secs_f64()) else {
        return Ok(lost());
    };
    let (start, Some(from)) = (Instant::now(), read()) else {
        return Ok(lost());
    };
    let mut runs = 0u64;
    while start.elapsed() < long {
        match loaded.run() {
            onnxc_abi::status::OK => runs += 1,
            s => return Err(crate::engine::failed_run(s).into()),
        }
    }
    let (Some(to), busy_s) = (read(), start.elapsed().as_secs_f64()) else {
        return Ok(lost());
    };
    let each = meters.list.iter().enumerate().map(|(k, m)| {
        let idle = m.joules(idle_from[k], idle_to[k]) / idle_s;
        let spent = m.joules(from[k], to[k]);
        Energy {
            meter: m.name.clone(),
            run: spent / runs.max(1) as f64,
            idle,
            busy: spent / busy_s,
            beyond: (spent - idle * busy_s).max(0.0) / runs.max(1) as f64,
        }
    });
    Ok(Ok(each.collect()))
}

/// As text.
pub fn text(m: &Measured) -> String {
    match m {
        Err(why) => format!("energy: not measured: {why}\n"),
        Ok(list) => (list.iter())
            .map(|e| {
                format!(
                    "energy: {:.4} mJ a run, {:.4} mJ of them beyond idle; {:.2} W busy, {:.2} W idle ({})\n",
                    e.run * 1e3,
                    e.beyond * 1e3,
                    e.busy,
                    e.idle,
                    e.meter
                )
            })
            .collect(),
    }
}

/// As JSON.
pub fn json(m: &Measured) -> Value {
    match m {
        Err(why) => json!({ "not_measured": why }),
        Ok(list) => (list.iter())
            .map(|e| {
                json!({
                    "meter": e.meter, "joules": e.run, "joules_beyond_idle": e.beyond,
                    "watts_busy": e.busy, "watts_idle": e.idle,
                })
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, file: &str, text: &str) {
        let path = dir.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn meters_are_packages_and_devices() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        put(d, "p/intel-rapl:0/name", "package-0\n");
        put(d, "p/intel-rapl:0/energy_uj", "12000000\n");
        put(d, "p/intel-rapl:0/max_energy_range_uj", "20000000\n");
        put(d, "p/intel-rapl:0:0/name", "core\n");
        put(d, "p/intel-rapl:0:0/energy_uj", "7\n");
        put(d, "p/intel-rapl/enabled", "1\n");
        put(d, "h/hwmon1/name", "amd_energy\n");
        put(d, "h/hwmon1/energy1_input", "5\n");
        put(d, "h/hwmon1/energy1_label", "Esocket0\n");
        put(d, "h/hwmon1/temp1_input", "5\n");
        put(d, "h/hwmon2/name", "odd\n");
        put(d, "h/hwmon2/energy2_input", "not a number\n");
        let all = Meters::below(&d.join("p"), &d.join("h"));
        let names: Vec<&str> = all.list.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["powercap package-0", "hwmon amd_energy Esocket0"]);
        assert_eq!(all.refused.len(), 1);
        // A counter that began again.
        assert_eq!(all.list[0].joules(12_000_000, 15_000_000), 3.0);
        assert_eq!(all.list[0].joules(19_000_000, 1_000_000), 2.0);
        assert_eq!(all.list[1].joules(9, 5), 0.0);
        let none = Meters::below(&d.join("x"), &d.join("y"));
        assert!(none.list.is_empty() && none.none().contains("has none"));
    }

    #[test]
    fn what_is_not_measured_is_said() {
        let m: Measured = Err("no meter".into());
        assert!(text(&m).contains("not measured: no meter"));
        assert_eq!(json(&m)["not_measured"], "no meter");
    }
}
