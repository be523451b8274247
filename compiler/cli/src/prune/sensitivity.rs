//! What each part of a model does to the outputs when it alone is pruned: measured on the compiled program, as a page and for goals.

use onnxc_compiler::base::diag::Diagnostics;

use super::cutting::{Cutting, Piece, Saved};
use super::float::Float;
use crate::failure::Outcome;
use crate::job::Job;
use crate::probe::written;
use crate::progress::Bar;
use crate::quantize::compare::{compare_with, worst};
use crate::report::{Curves, Page, Part, Table, html};
use crate::table::Align;
use crate::ui::Ui;

/// Shares that are tried.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 0.9];
/// Cases that they are measured on.
const CASES: usize = 8;

/// Decibels beyond which outputs are the same in f32: its 24 bits, 6 decibels each. More is not told apart in a picture.
const SAME: f64 = 144.0;

/// What became of the whole with a share of a piece gone.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// The share.
    pub share: f64,
    /// SQNR of the worst output in decibels.
    pub sqnr: f64,
    /// What is saved.
    pub saved: Saved,
}

/// A piece and what its shares do.
#[derive(Clone, PartialEq, Debug)]
pub struct Curve {
    /// The piece.
    pub piece: Piece,
    /// By rising share.
    pub points: Vec<Point>,
}

/// Measures every piece alone.
pub fn measure(cutting: &Cutting, float: &Float, quiet: &Job, ui: &Ui) -> Outcome<Vec<Curve>> {
    let pieces = cutting.pieces(float);
    let bar = Bar::counted(ui, Some((pieces.len() * SHARES.len()) as u64));
    bar.say("measuring each layer alone");
    let mut curves = vec![];
    for piece in pieces {
        let mut points = vec![];
        for share in SHARES {
            let cut = cutting.each(&[(&piece, share)], float)?;
            let file = written(&cut.model, &mut Diagnostics::default())?;
            let cases = (&float.inputs[..], &float.outputs[..]);
            let errors = compare_with(&file, cases, quiet, CASES, None)?;
            points.push(Point {
                share,
                sqnr: worst(&errors),
                saved: cutting.saved(&cut, float),
            });
            bar.step();
        }
        curves.push(Curve { piece, points });
    }
    Ok(curves)
}

/// The page.
pub fn page(measured: &[Curve]) -> String {
    let mut curves = vec![];
    let mut rows = vec![];
    for c in measured {
        let name = &c.piece.name;
        let mut row = vec![name.clone()];
        row.extend(c.points.iter().map(|x| match x.sqnr > SAME {
            true => "same".to_string(),
            false => format!("{:.1}", x.sqnr),
        }));
        rows.push((c.points.get(1).map_or(0.0, |p| p.sqnr), row));
        let points = c
            .points
            .iter()
            .map(|p| (p.share, p.sqnr.min(SAME)))
            .collect();
        curves.push((name.clone(), points));
    }
    // The most sensitive first.
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut columns = vec![("layers".to_string(), Align::Left)];
    columns.extend(SHARES.map(|s| (format!("{:.0} %", 100.0 * s), Align::Right)));
    let text = "SQNR of the worst output in decibels: the square of the whole model's output over that of the difference, where a share of one layer's weights or channels alone is gone \
                and nothing makes up for it. Where a curve is low, the layer is sensitive; from 144 decibels on (24 bits) outputs are called the same.";
    html(&Page {
        title: "What pruning each layer alone does".into(),
        parts: vec![
            Part::Text(text.into()),
            Part::Curves(Curves {
                title: "SQNR in decibels by the share that is gone".into(),
                curves,
            }),
            Part::Heading("The same as numbers, most sensitive first".into()),
            Part::Table(Table {
                columns,
                rows: rows.into_iter().map(|r| r.1).collect(),
            }),
        ],
    })
}
