//! What kernels cost on a machine: the table by which one of several rows is chosen.
//!
//! A row says what its work is made of ([`Work`]), a table what each part of it costs, in nanoseconds, and what was measured outright.
//! Only the comparison of rows matters. The target has a table for each level, fitted from measurements; `onnxc tune-kernels` makes one for
//! a machine at hand.

use std::collections::BTreeMap;

/// Amounts of what a kernel does.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Work {
    /// Multiply-accumulates, those of columns that only fill a vector included.
    pub macs: f64,
    /// Elements that are transformed before or after the products.
    pub transforms: f64,
    /// Bytes of weights, as far as they stay in the second cache.
    pub near: f64,
    /// Bytes of weights that come from further away.
    pub far: f64,
}

/// Names of the parts of a cost, in the order of [`Rates`]: for a call, and for each unit of work.
pub const PARTS: [&str; 5] = ["call", "mac", "transform", "near", "far"];

/// Nanoseconds for each part.
pub type Rates = [f64; PARTS.len()];

impl Work {
    /// Products alone.
    pub fn of(macs: f64) -> Work {
        Work {
            macs,
            ..Work::default()
        }
    }
    /// Bytes of weights, for a second cache of so many bytes.
    pub fn with_weights(self, bytes: f64, l2: u32) -> Work {
        let near = bytes.min(f64::from(l2.max(128 << 10)) / 2.0);
        Work {
            near,
            far: bytes - near,
            ..self
        }
    }
    /// The amounts in the order of [`PARTS`].
    pub fn parts(&self) -> Rates {
        [1.0, self.macs, self.transforms, self.near, self.far]
    }
}

/// A table.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Costs {
    /// Rates of rows by name.
    pub rates: BTreeMap<String, Rates>,
    /// Measured times: by the query's text, of each row.
    pub measured: BTreeMap<String, BTreeMap<String, f64>>,
}

/// What a row costs of which the table says nothing, in the same measure as those of [`GENERIC`].
const UNKNOWN: Rates = [0.0, 1.0, 0.0, 0.0, 0.0];

/// Rates of a machine of which nothing is known but its architecture: for comparison only, the unit is a product in plain loops.
pub const GENERIC: &[(&str, Rates)] = &[
    ("conv_loops", [0.0, 1.0, 0.0, 0.0, 0.0]),
    ("conv_f32_gemm", [200.0, 0.07, 0.56, 0.0, 0.0]),
    ("conv_f32_depthwise", [100.0, 0.25, 0.0, 0.0, 0.0]),
    ("conv_f32_depthwise_last", [100.0, 0.1, 0.0, 0.0, 0.0]),
    ("conv_f32_depthwise_wide", [200.0, 0.25, 0.0, 0.0, 0.0]),
    ("conv_f32_planes", [200.0, 0.06, 0.0, 0.0, 0.0]),
    ("conv_f32_strip", [100.0, 0.08, 0.0, 0.0, 0.0]),
    ("conv_f32_winograd_f4", [400.0, 0.083, 0.37, 0.021, 0.021]),
    ("conv_f32_winograd_f2", [400.0, 0.083, 0.37, 0.021, 0.021]),
    ("conv_integer_loops", [0.0, 1.0, 0.0, 0.0, 0.0]),
    ("conv_i8_depthwise_last", [100.0, 0.12, 0.0, 0.0, 0.0]),
    ("conv_i8_strip", [100.0, 0.025, 0.0, 0.0, 0.0]),
    ("conv_i8_matrices", [100.0, 0.014, 0.0, 0.0, 0.0]),
    ("conv_i8_picked", [100.0, 0.05, 0.0, 0.0, 0.0]),
    ("conv_i16_strip", [100.0, 0.06, 0.0, 0.0, 0.0]),
    ("conv_i16_winograd_f4", [400.0, 0.063, 0.5, 0.06, 0.1]),
    ("conv_i16_winograd_f2", [400.0, 0.063, 0.5, 0.06, 0.1]),
    ("gemm_integer_loops", [0.0, 1.0, 0.0, 0.0, 0.0]),
    ("gemm_i8_strip", [100.0, 0.025, 0.0, 0.0, 0.0]),
    ("gemm_i8_matrices", [100.0, 0.014, 0.0, 0.0, 0.0]),
    ("gemm_i8_picked", [100.0, 0.05, 0.0, 0.0, 0.0]),
    ("gemm_i16_strip", [100.0, 0.06, 0.0, 0.0, 0.0]),
    ("lookup_loops", [0.0, 1.0, 0.0, 0.0, 0.0]),
    ("lookup_i8_table", [20.0, 0.2, 0.0, 0.0, 0.0]),
    ("gemm_loops", [0.0, 0.5, 0.0, 0.0, 0.0]),
    ("gemm_f32_tile", [100.0, 0.1, 0.0, 0.0, 0.0]),
    ("gemm_f32_strip", [100.0, 0.08, 0.0, 0.0, 0.0]),
    ("gemm_narrow_strip", [0.0; 5]),
    ("conv_f32_sparse4", [500.0, 0.097, 0.35, 0.12, 0.04]),
    ("conv_f32_sparse4_line", [500.0, 0.11, 0.35, 0.2, 0.2]),
    ("conv_f32_sparse1_line", [500.0, 0.13, 0.4, 0.2, 0.2]),
    ("conv_f32_sparse4_window", [800.0, 0.1, 0.35, 0.12, 0.04]),
    ("conv_f32_sparse1_window", [800.0, 0.13, 0.4, 0.16, 0.04]),
    ("conv_f32_sparse1", [500.0, 0.12, 0.4, 0.16, 0.04]),
    ("conv_i8_sparse4", [500.0, 0.1, 0.1, 0.0, 0.0]),
    ("conv_i8_sparse1", [500.0, 0.14, 0.1, 0.0, 0.0]),
    ("conv_i8_sparse4_near", [500.0, 0.1, 0.1, 0.0, 0.0]),
    ("conv_i8_sparse1_near", [500.0, 0.14, 0.1, 0.0, 0.0]),
    ("gemm_i8_sparse4_near", [500.0, 0.1, 0.1, 0.0, 0.0]),
    ("gemm_i8_sparse1_near", [500.0, 0.14, 0.1, 0.0, 0.0]),
    ("gemm_i8_sparse4", [500.0, 0.1, 0.1, 0.0, 0.0]),
    ("gemm_i8_sparse1", [500.0, 0.14, 0.1, 0.0, 0.0]),
    ("gemm_f32_sparse4", [500.0, 0.087, 0.35, 0.01, 0.02]),
    ("gemm_f32_sparse1", [500.0, 0.12, 0.4, 0.02, 0.04]),
];

impl Costs {
    /// Of rows by name.
    pub fn of_rows(rows: &[(&str, Rates)]) -> Costs {
        Costs {
            rates: rows.iter().map(|(n, r)| (n.to_string(), *r)).collect(),
            measured: BTreeMap::new(),
        }
    }

    /// What `row` costs: as it was measured for this very query, or by the rates.
    pub fn cost(&self, row: &str, work: &Work, query: Option<&str>) -> f64 {
        let times = query.and_then(|q| self.measured.get(q));
        if let Some(ns) = times.and_then(|m| m.get(row)) {
            return *ns;
        }
        let parts = work.parts();
        let rates = self.rates_of(row);
        rates.iter().zip(parts).map(|(r, p)| r * p).sum()
    }

    /// The rates of a row; those of [`GENERIC`] where the table does not know it.
    pub fn rates_of(&self, row: &str) -> Rates {
        let generic = || GENERIC.iter().find(|(n, _)| *n == row).map(|(_, r)| *r);
        let own = self.rates.get(row).copied();
        own.or_else(generic).unwrap_or(UNKNOWN)
    }
}

/// Rates that explain measured times best: no rate is negative, and errors count relative to the time. `samples`: work and
/// nanoseconds. By descent along one rate after the other, which ends at the one best answer; the same samples give the same rates.
pub fn fit(samples: &[(Work, f64)]) -> Rates {
    const ROUNDS: usize = 4000;
    let mut rates: Rates = [0.0; PARTS.len()];
    let rows: Vec<Rates> = samples
        .iter()
        .filter(|(_, ns)| *ns > 0.0)
        .map(|(w, ns)| w.parts().map(|p| p / ns))
        .collect();
    for _ in 0..ROUNDS {
        for k in 0..PARTS.len() {
            let square: f64 = rows.iter().map(|r| r[k] * r[k]).sum();
            if square <= 0.0 {
                continue;
            }
            let miss = |r: &Rates| 1.0 - r.iter().zip(&rates).map(|(a, b)| a * b).sum::<f64>();
            let slope: f64 = rows.iter().map(|r| r[k] * miss(r)).sum();
            rates[k] = (rates[k] + slope / square).max(0.0);
        }
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_beats_rates() {
        let mut c = Costs::of_rows(&[("a", [10.0, 2.0, 0.0, 0.0, 0.0])]);
        let work = Work::of(100.0);
        assert_eq!(c.cost("a", &work, None), 210.0);
        let times = BTreeMap::from([("a".to_string(), 7.0)]);
        c.measured.insert("q".into(), times);
        assert_eq!(c.cost("a", &work, Some("q")), 7.0);
        assert_eq!(c.cost("a", &work, Some("other")), 210.0);
        // Rows that the table does not know: as everywhere, or as dear as loops.
        assert_eq!(c.cost("b", &work, None), 100.0);
        assert_eq!(c.cost("gemm_f32_strip", &work, None), 108.0);
        assert!(Costs::default().cost("conv_f32_strip", &work, None) > 100.0);
    }

    #[test]
    fn rates_are_found_again() {
        let truth: Rates = [300.0, 0.02, 0.5, 0.0, 0.03];
        let samples: Vec<(Work, f64)> = (0..40)
            .map(|k: u32| {
                let n = |m: u32| f64::from((k * m + 7) % 23) * 1000.0;
                let w = Work {
                    macs: n(5) * 30.0,
                    transforms: n(11),
                    near: n(3),
                    far: n(17),
                };
                let ns = w.parts().iter().zip(truth).map(|(a, b)| a * b).sum();
                (w, ns)
            })
            .collect();
        let found = fit(&samples);
        for (f, t) in found.iter().zip(truth) {
            assert!((f - t).abs() <= 0.01 * t + 1e-4, "{found:?}");
        }
        assert_eq!(fit(&[]), [0.0; 5]);
    }

    #[test]
    fn rates_are_never_negative() {
        let w = |macs, far| Work {
            far,
            ..Work::of(macs)
        };
        let found = fit(&[
            (w(100.0, 50.0), 100.0),
            (w(200.0, 0.0), 300.0),
            (w(50.0, 90.0), 20.0),
        ]);
        assert!(found.iter().all(|r| *r >= 0.0), "{found:?}");
    }
}
