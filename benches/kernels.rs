//! Every kernel row on every query of `compiler/cli/src/bench/shapes.txt` that it accepts, with its share of the measured peak.
//!
//! `cargo bench --bench kernels -- [--target-cpu CPU] [--seconds S] [--record FILE] [TEXT]`; TEXT selects lines and rows that hold
//! it. A new row is measured as soon as it stands in its contract.

use clap::Parser;
use onnxc::args::flags::{Color, Global, MessageFormat, TargetFlags};
use onnxc::bench::{kernel, record, roofline};
use onnxc::machine::{self, Purpose};
use onnxc::progress::Bar;
use onnxc::table::{Align, Table};
use onnxc::ui::Ui;
use onnxc_compiler::base::diag::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures kernel rows.
#[derive(Parser)]
struct Flags {
    /// Only lines and rows that hold this
    text: Option<String>,
    /// Seconds for each row and shape
    #[arg(long, default_value_t = 0.1)]
    seconds: f64,
    /// Append to this CSV file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Rows that are not chosen too
    #[arg(long)]
    all: bool,
    /// Cargo gives it to every bench
    #[arg(long, hide = true)]
    bench: bool,
    /// Machine.
    #[command(flatten)]
    target: TargetFlags,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let ui = Ui::new(&Global {
        message_format: MessageFormat::Human,
        color: Color::Auto,
        verbose: false,
        quiet: false,
    });
    match run(&flags, &ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(d) => {
            ui.diagnostic(&d);
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags, ui: &Ui) -> Result<()> {
    let machine = machine::choose(&flags.target, Purpose::RunNow, ui)?;
    let shapes = kernel::parse(kernel::SHAPES)?;
    let bar = Bar::counted(ui, Some(shapes.len() as u64));
    let roof = roofline::measure(&machine, None, 1.0, &bar, &|_| false)?;
    let holds = |t: &str| flags.text.as_deref().is_none_or(|f| t.contains(f));
    let mut table = Table::new(&[
        ("shape", Align::Left),
        ("row", Align::Left),
        ("us", Align::Right),
        ("GFLOP/s", Align::Right),
        ("% of peak", Align::Right),
    ]);
    let mut rows = Vec::new();
    for shape in &shapes {
        bar.say(&shape.text);
        bar.step();
        // A row that does not accept, or is not asked for, costs nothing.
        let wanted = |name: &str| holds(&format!("{} {name}", shape.text));
        for m in kernel::measure(&machine, shape, flags.seconds, None, &|row, chosen, _| {
            wanted(row) && (chosen || flags.all)
        })? {
            let ns = m.times.min();
            let gflops = 2.0 * m.macs as f64 / ns;
            table.row(vec![
                shape.text.clone(),
                format!("{}{}", m.row.name, if m.chosen { " *" } else { "" }),
                format!("{:.2}", ns / 1e3),
                format!("{gflops:.1}"),
                format!("{:.1}", 100.0 * gflops / roof.peak()),
            ]);
            rows.push(record::Row {
                what: m.row.name.into(),
                shape: shape.text.clone(),
                threads: 1,
                ns,
                macs: m.macs,
                share: Some(gflops / roof.peak()),
                peer: None,
            });
        }
    }
    drop(bar);
    record::append(flags.record.as_deref(), &machine, &rows)?;
    print!("{}{}", roof.text(), table.text(60));
    Ok(())
}
