//! What `eval` measures: each metric takes outputs and what is right, case by case, and ends in a number with an interval.

use onnxc_compiler::base::tensor::Tensor;

use crate::args::eval::MetricName;
use crate::data::topk::top;

/// Two-sided 95% of the normal distribution.
const Z: f64 = 1.959_964;

/// A result.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// The number itself.
    pub value: f64,
    /// Where 95% of repetitions with other cases would lie, if the cases are independent.
    pub interval: Option<(f64, f64)>,
    /// Rows, elements or classes that it is a mean over.
    pub count: usize,
}

/// A metric under way.
pub enum Metric {
    /// Rows with the right class among so many, and all.
    Top {
        /// How many count.
        k: usize,
        #[allow(missing_docs)]
        right: usize,
        #[allow(missing_docs)]
        rows: usize,
    },
    /// Scores of cases, and whether each is of class 1.
    Auc(Vec<(f64, bool)>),
    /// For each class: elements that both say, elements that either says.
    Miou(Vec<(u64, u64)>),
    /// Mean square of each case, and elements of a case.
    Mse(Vec<f64>, usize),
}

impl Metric {
    /// Nothing taken yet.
    pub fn new(name: MetricName) -> Metric {
        let top = |k| Metric::Top {
            k,
            right: 0,
            rows: 0,
        };
        match name {
            MetricName::Top1 => top(1),
            MetricName::Top5 => top(5),
            MetricName::Auc => Metric::Auc(vec![]),
            MetricName::Miou => Metric::Miou(vec![]),
            MetricName::Mse => Metric::Mse(vec![], 0),
        }
    }

    /// Takes an output and what would be right. What does not fit is said.
    pub fn take(&mut self, output: &Tensor, right: &[f64]) -> Result<(), String> {
        let got = output.to_f64s().ok_or("it is not numeric")?;
        match self {
            Metric::Top {
                k,
                right: hits,
                rows,
            } => {
                let classes = row_of(&got, right)?;
                for (row, want) in got.chunks_exact(classes).zip(right) {
                    *hits += usize::from(top(row, *k).iter().any(|c| *c as f64 == *want));
                    *rows += 1;
                }
            }
            Metric::Auc(scores) => {
                let classes = row_of(&got, right)?;
                if classes > 2 {
                    return Err(format!("it has {classes} classes, not two"));
                }
                for (row, want) in got.chunks_exact(classes).zip(right) {
                    if ![0.0, 1.0].contains(want) {
                        return Err(format!("class {want} is neither 0 nor 1"));
                    }
                    scores.push((row[classes - 1], *want == 1.0));
                }
            }
            Metric::Miou(classes) => {
                let map = class_map(output, &got, right.len())?;
                let most = classes_of(output, &map, right.len());
                if classes.len() < most {
                    classes.resize(most, (0, 0));
                }
                for (a, b) in map.iter().zip(right) {
                    // Labels of no class, such as 255 or -1, say that the place does not count.
                    if *b < 0.0 || *b as usize >= classes.len() {
                        continue;
                    }
                    let (a, b) = (*a as usize, *b as usize);
                    if a == b {
                        classes[a].0 += 1;
                        classes[a].1 += 1;
                    } else {
                        classes[b].1 += 1;
                        if let Some(c) = classes.get_mut(a) {
                            c.1 += 1;
                        }
                    }
                }
            }
            Metric::Mse(cases, elements) => {
                if got.len() != right.len() {
                    return Err(format!(
                        "it has {} elements, not {}",
                        got.len(),
                        right.len()
                    ));
                }
                let sum: f64 = got.iter().zip(right).map(|(a, b)| (a - b) * (a - b)).sum();
                cases.push(sum / got.len().max(1) as f64);
                *elements += got.len();
            }
        }
        Ok(())
    }

    /// The result; `None` where nothing counted.
    pub fn measured(&self) -> Option<Measured> {
        match self {
            Metric::Top { right, rows, .. } => (*rows > 0).then(|| share(*right, *rows)),
            Metric::Auc(scores) => auc(scores),
            Metric::Miou(classes) => {
                let seen: Vec<f64> = (classes.iter())
                    .filter(|c| c.1 > 0)
                    .map(|c| c.0 as f64 / c.1 as f64)
                    .collect();
                (!seen.is_empty()).then(|| Measured {
                    value: seen.iter().sum::<f64>() / seen.len() as f64,
                    interval: None,
                    count: seen.len(),
                })
            }
            Metric::Mse(cases, elements) => {
                let n = cases.len() as f64;
                let mean = cases.iter().sum::<f64>() / n;
                let spread: f64 = cases.iter().map(|c| (c - mean) * (c - mean)).sum();
                let half = Z * libm::sqrt(spread / (n - 1.0) / n);
                (*elements > 0).then_some(Measured {
                    value: mean,
                    interval: (cases.len() > 1).then_some(((mean - half).max(0.0), mean + half)),
                    count: *elements,
                })
            }
        }
    }
}

/// Scores of a row, one row for each label.
fn row_of(got: &[f64], right: &[f64]) -> Result<usize, String> {
    match got.len().checked_div(right.len()) {
        Some(n) if n > 0 && n * right.len() == got.len() => Ok(n),
        _ => Err(format!(
            "{} scores are no rows for {} labels",
            got.len(),
            right.len()
        )),
    }
}

/// The class of each place: numbers as they are, or the largest of scores along the second axis, or along the last.
fn class_map(t: &Tensor, got: &[f64], places: usize) -> Result<Vec<f64>, String> {
    if got.len() == places {
        return Ok(got.to_vec());
    }
    let size = |a: usize| t.shape.get(a).map_or(0, |d| *d as usize);
    let last = t.shape.len().wrapping_sub(1);
    for (axis, inner) in [
        (1, t.shape.iter().skip(2).product::<i64>() as usize),
        (last, 1),
    ] {
        let classes = size(axis);
        if classes * places != got.len() || classes == 0 || inner == 0 {
            continue;
        }
        let best = |p: usize| {
            let from = p / inner * inner * classes + p % inner;
            let row: Vec<f64> = (0..classes).map(|c| got[from + c * inner]).collect();
            top(&row, 1).first().map_or(f64::NAN, |c| *c as f64)
        };
        return Ok((0..places).map(best).collect());
    }
    Err(format!(
        "shape {:?} has no class for each of {places} labels",
        t.shape
    ))
}

/// How many classes there are: those of the scores, or as many as a map names.
fn classes_of(t: &Tensor, map: &[f64], places: usize) -> usize {
    let all: i64 = t.shape.iter().product();
    match all as usize / places.max(1) {
        n if n > 1 => n,
        _ => map.iter().fold(0.0, |a: f64, b| a.max(*b)) as usize + 1,
    }
}

/// A share with its interval (Wilson 1927, "Probable inference, the law of succession, and statistical inference").
fn share(right: usize, all: usize) -> Measured {
    let (n, p) = (all as f64, right as f64 / all as f64);
    let (z2, scale) = (Z * Z, 1.0 + Z * Z / n);
    let middle = (p + z2 / (2.0 * n)) / scale;
    let half = Z / scale * libm::sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n));
    Measured {
        value: p,
        interval: Some(((middle - half).max(0.0), (middle + half).min(1.0))),
        count: all,
    }
}

/// The share of pairs in the right order, equal scores counting half; its interval by Hanley and McNeil 1982, "The meaning and use of the area
/// under a receiver operating characteristic curve".
fn auc(scores: &[(f64, bool)]) -> Option<Measured> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positive = scores.iter().filter(|s| s.1).count() as f64;
    let negative = scores.len() as f64 - positive;
    if positive == 0.0 || negative == 0.0 {
        return None;
    }
    let (mut sum, mut below) = (0.0, 0.0);
    for equal in sorted.chunk_by(|a, b| a.0 == b.0) {
        let ones = equal.iter().filter(|s| s.1).count() as f64;
        let zeros = equal.len() as f64 - ones;
        sum += ones * (below + zeros / 2.0);
        below += zeros;
    }
    let a = sum / (positive * negative);
    let (q1, q2) = (a / (2.0 - a), 2.0 * a * a / (1.0 + a));
    let variance =
        (a * (1.0 - a) + (positive - 1.0) * (q1 - a * a) + (negative - 1.0) * (q2 - a * a))
            / (positive * negative);
    let half = Z * libm::sqrt(variance.max(0.0));
    Some(Measured {
        value: a,
        interval: Some(((a - half).max(0.0), (a + half).min(1.0))),
        count: scores.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnxc_compiler::base::dtype::DType;

    fn of(name: MetricName, cases: &[(&[i64], &[f64], &[f64])]) -> Option<Measured> {
        let mut m = Metric::new(name);
        for (shape, got, right) in cases {
            let t = Tensor::from_f64s(DType::F32, shape, got);
            m.take(&t, right).unwrap();
        }
        m.measured()
    }

    #[test]
    fn shares_have_wilsons_interval() {
        // 81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table II).
        let m = share(81, 263);
        let (lo, hi) = m.interval.unwrap();
        assert!(
            (lo - 0.2553).abs() < 5e-5 && (hi - 0.3662).abs() < 5e-5,
            "{m:?}"
        );
        // None of 20: 0 to 0.1611.
        let (lo, hi) = share(0, 20).interval.unwrap();
        assert!(lo == 0.0 && (hi - 0.1611).abs() < 5e-5);
    }

    #[test]
    fn classes_count_where_they_are_among_the_best() {
        let rows: &[f64] = &[0.1, 0.7, 0.2, 0.5, 0.1, 0.4];
        let case: (&[i64], &[f64], &[f64]) = (&[2, 3], rows, &[1.0, 2.0]);
        assert_eq!(of(MetricName::Top1, &[case]).unwrap().value, 0.5);
        assert_eq!(of(MetricName::Top5, &[case]).unwrap().value, 1.0);
        assert!(of(MetricName::Top1, &[]).is_none());
        let mut m = Metric::new(MetricName::Top1);
        let t = Tensor::from_f64s(DType::F32, &[2, 3], rows);
        assert!(m.take(&t, &[1.0, 2.0, 0.0, 1.0]).is_err());
    }

    #[test]
    fn areas_count_pairs() {
        let one = |s: f64, c: f64| (vec![s], vec![c]);
        let cases = [one(0.1, 0.0), one(0.4, 0.0), one(0.35, 1.0), one(0.8, 1.0)];
        let cases: Vec<(&[i64], &[f64], &[f64])> = (cases.iter())
            .map(|(s, c)| (&[1, 1][..], &s[..], &c[..]))
            .collect();
        // The example of scikit-learn's roc_auc_score.
        assert_eq!(of(MetricName::Auc, &cases).unwrap().value, 0.75);
        assert!(of(MetricName::Auc, &cases[..2]).is_none());
        let tie: (&[i64], &[f64], &[f64]) = (&[2, 2], &[0.5, 0.5, 0.5, 0.5], &[0.0, 1.0]);
        assert_eq!(of(MetricName::Auc, &[tie]).unwrap().value, 0.5);
    }

    #[test]
    fn unions_leave_out_what_has_no_class() {
        // Two classes over four places; the last place does not count.
        let scores: &[f64] = &[0.9, 0.2, 0.8, 0.3, 0.1, 0.8, 0.2, 0.7];
        let right: &[f64] = &[0.0, 1.0, 1.0, 255.0];
        let m = of(MetricName::Miou, &[(&[1, 2, 2, 2], scores, right)]).unwrap();
        assert_eq!((m.value, m.count), (0.5, 2));
        let last: &[f64] = &[0.9, 0.1, 0.2, 0.8, 0.8, 0.2, 0.3, 0.7];
        assert_eq!(
            of(MetricName::Miou, &[(&[1, 1, 4, 2], last, right)])
                .unwrap()
                .value,
            0.5
        );
        let map: &[f64] = &[0.0, 1.0, 0.0, 1.0];
        assert_eq!(
            of(MetricName::Miou, &[(&[1, 2, 2], map, right)])
                .unwrap()
                .value,
            0.5
        );
    }

    #[test]
    fn squares_are_means_of_cases() {
        let cases: [(&[i64], &[f64], &[f64]); 2] = [
            (&[2], &[1.0, 2.0], &[1.0, 4.0]),
            (&[2], &[0.0, 0.0], &[2.0, 2.0]),
        ];
        let m = of(MetricName::Mse, &cases).unwrap();
        assert_eq!((m.value, m.count), (3.0, 4));
        assert!(m.interval.unwrap().0 < 3.0);
    }
}
