//! Energy of runs, by the meters that Linux has: powercap (RAPL, of the whole package) and hwmon, which has meters of energy, and on boards
//! mostly of power (INA2xx and the like): those are read a hundred times a second, and their mean is taken.
//!
//! What a meter counts is all that happens beside the runs too; what the machine takes while nothing runs is measured before, for the same time,
//! and said apart. A machine without a meter that can be read says so: nothing is estimated.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::Loaded;
use crate::failure::Outcome;

/// Where meters are.
const POWERCAP: &str = "/sys/class/powercap";
/// Where others are.
const HWMON: &str = "/sys/class/hwmon";

/// What a meter's file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Microjoules since some time.
    Energy,
    /// Microwatts now.
    Power,
}

/// A meter.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// What it measures, as the system calls it.
    pub name: String,
    /// What its file holds.
    kind: Kind,
    /// The file.
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
            let file = zone.join("energy_uj");
            all.try_meter(format!("powercap {name}"), Kind::Energy, file, wraps);
        }
        for device in folders(hwmon) {
            let name = word(&device.join("name")).unwrap_or_default();
            for (kind, word_of) in [(Kind::Energy, "energy"), (Kind::Power, "power")] {
                for file in folders(&device) {
                    let own = file.file_name().unwrap_or_default().to_string_lossy();
                    let number = own.strip_prefix(word_of);
                    let Some(k) = number.and_then(|t| t.strip_suffix("_input")) else {
                        continue;
                    };
                    let label = word(&device.join(format!("{word_of}{k}_label")));
                    let label = label.unwrap_or_else(|| format!("{word_of}{k}"));
                    all.try_meter(format!("hwmon {name} {label}"), kind, file.clone(), None);
                }
            }
        }
        all
    }

    fn try_meter(&mut self, name: String, kind: Kind, file: PathBuf, wraps: Option<u64>) {
        match number(&file) {
            Ok(_) => self.list.push(Meter {
                name,
                kind,
                file,
                wraps,
            }),
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
    // Meters step a thousand times a second: a second is exact to a part in a thousand.
    let long = Duration::from_secs_f64(seconds.max(1.0));
    watch(&Meters::find(), long, || match loaded.run() {
        onnxc_abi::status::OK => Ok(()),
        s => Err(crate::engine::failed_run(s).into()),
    })
}

/// What meters say while nothing runs, and then while `run` does, for as long each.
fn watch(
    meters: &Meters,
    long: Duration,
    mut run: impl FnMut() -> Outcome<()>,
) -> Outcome<Measured> {
    if meters.list.is_empty() {
        return Ok(Err(meters.none()));
    }
    let lost = || Err("a meter stopped answering".to_string());
    let Some(idle) = Span::over(meters, || {
        std::thread::sleep(long);
        Ok(())
    })?
    else {
        return Ok(lost());
    };
    let mut runs = 0u64;
    let Some(busy) = Span::over(meters, || {
        let start = Instant::now();
        while runs == 0 || start.elapsed() < long {
            run()?;
            runs += 1;
        }
        Ok(())
    })?
    else {
        return Ok(lost());
    };
    let each = meters.list.iter().enumerate().map(|(k, m)| {
        let (spent, idle) = (busy.joules[k], idle.joules[k] / idle.seconds);
        Energy {
            meter: m.name.clone(),
            run: spent / runs as f64,
            idle,
            busy: spent / busy.seconds,
            beyond: (spent - idle * busy.seconds).max(0.0) / runs as f64,
        }
    });
    Ok(Ok(each.collect()))
}

/// What was spent while something went on, by each meter.
struct Span {
    joules: Vec<f64>,
    seconds: f64,
}

impl Span {
    /// `None` where a meter no longer answers.
    fn over(meters: &Meters, work: impl FnOnce() -> Outcome<()>) -> Outcome<Option<Span>> {
        let read = || -> Option<Vec<u64>> {
            let counts = meters.list.iter().filter(|m| m.kind == Kind::Energy);
            counts.map(|m| number(&m.file).ok()).collect()
        };
        let sampler = Sampler::start(meters);
        let (start, from) = (Instant::now(), read());
        work()?;
        let (to, seconds) = (read(), start.elapsed().as_secs_f64());
        let (Some(from), Some(to), Some(watts)) = (from, to, sampler.watts()) else {
            return Ok(None);
        };
        let (mut counts, mut watts) = (from.iter().zip(&to), watts.iter());
        let joules = meters.list.iter().map(|m| match m.kind {
            Kind::Energy => counts.next().map_or(0.0, |(from, to)| m.joules(*from, *to)),
            Kind::Power => watts.next().map_or(0.0, |w| w * seconds),
        });
        Ok(Some(Span {
            joules: joules.collect(),
            seconds,
        }))
    }
}

/// Reads meters of power, a hundred times a second, on a thread of its own.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<Vec<f64>>>,
}

impl Sampler {
    fn start(meters: &Meters) -> Sampler {
        let power = meters.list.iter().filter(|m| m.kind == Kind::Power);
        let files: Vec<PathBuf> = power.map(|m| m.file.clone()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut sums, mut count) = (vec![0.0; files.len()], 0u32);
            while !files.is_empty() {
                for (sum, file) in sums.iter_mut().zip(&files) {
                    *sum += number(file).ok()? as f64 / 1e6;
                }
                count += 1;
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Some(sums.iter().map(|s| s / f64::from(count)).collect())
        });
        Sampler { stop, thread }
    }

    /// The mean of each, in watts; `None` where one no longer answers.
    fn watts(self) -> Option<Vec<f64>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().flatten()
    }
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
        put(d, "h/hwmon1/power3_input", "2000000\n");
        put(d, "h/hwmon2/name", "odd\n");
        put(d, "h/hwmon2/energy2_input", "not a number\n");
        let all = Meters::below(&d.join("p"), &d.join("h"));
        let names: Vec<&str> = all.list.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "powercap package-0",
                "hwmon amd_energy Esocket0",
                "hwmon amd_energy power3"
            ]
        );
        assert_eq!(all.refused.len(), 1);
        // A counter that began again.
        assert_eq!(all.list[0].joules(12_000_000, 15_000_000), 3.0);
        assert_eq!(all.list[0].joules(19_000_000, 1_000_000), 2.0);
        assert_eq!(all.list[1].joules(9, 5), 0.0);
        let none = Meters::below(&d.join("x"), &d.join("y"));
        assert!(none.list.is_empty() && none.none().contains("has none"));
    }

    /// A machine whose meters only move while something runs: what a run takes is what the files say, whatever the clock does.
    #[test]
    fn runs_take_what_the_meters_say() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        put(d, "p/intel-rapl:0/name", "package-0\n");
        put(d, "p/intel-rapl:0/energy_uj", "999500\n");
        put(d, "p/intel-rapl:0/max_energy_range_uj", "1000000\n");
        put(d, "h/hwmon0/name", "ina226\n");
        put(d, "h/hwmon0/power1_input", "3000000\n");
        put(d, "h/hwmon0/power1_label", "VDD_CPU\n");
        let meters = Meters::below(&d.join("p"), &d.join("h"));
        let long = Duration::from_millis(30);
        let (mut at, mut runs) = (999_500u64, 0u64);
        // 250 microjoules a run; the counter begins again on the way.
        let found = watch(&meters, long, || {
            runs += 1;
            at = (at + 250) % 1_000_000;
            put(d, "p/intel-rapl:0/energy_uj", &format!("{at}\n"));
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        });
        let found = found.unwrap().unwrap();
        assert!(runs > 2 && at < 999_500, "{runs} {at}");
        let (package, board) = (&found[0], &found[1]);
        assert!((package.run - 250e-6).abs() < 1e-12, "{package:?}");
        assert_eq!((package.idle, package.beyond), (0.0, package.run));
        // A board that always takes 3 W: all that a run takes is what the board takes meanwhile.
        assert_eq!(board.meter, "hwmon ina226 VDD_CPU");
        assert!((board.idle - 3.0).abs() < 1e-9 && (board.busy - 3.0).abs() < 1e-9);
        assert!(board.run > 0.0 && board.beyond < 1e-9, "{board:?}");
        assert!(text(&Ok(found)).contains("mJ a run"));
        // One that goes away on the way.
        for file in ["p/intel-rapl:0/energy_uj", "h/hwmon0/power1_input"] {
            let text = std::fs::read_to_string(d.join(file)).unwrap();
            let lost = watch(&meters, long, || {
                let _ = std::fs::remove_file(d.join(file));
                std::thread::sleep(Duration::from_millis(30));
                Ok(())
            });
            assert_eq!(lost.unwrap(), Err("a meter stopped answering".into()));
            put(d, file, &text);
        }
        // A run that fails is no measurement.
        let failed = watch(&meters, long, || {
            Err(crate::engine::failed_run(onnxc_abi::status::BAD_COUNT).into())
        });
        assert!(failed.is_err());
    }

    #[test]
    fn what_is_not_measured_is_said() {
        let m: Measured = Err("no meter".into());
        assert!(text(&m).contains("not measured: no meter"));
        assert_eq!(json(&m)["not_measured"], "no meter");
    }
}
