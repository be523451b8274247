//! Floats that are one number over whole numbers of 24 bits: three bytes each.
//!
//! What a multiplier gets wrong counts in sums: results are multiples of its inverse. So multipliers of a layer need inverses that are equally exact, the
//! small ones as f32 has them, larger ones less so; whole numbers below a common one say just that, where bits of f32 take as many for each.

/// The largest whole number: a word with a sign and a byte hold what it has above the middle.
pub const MOST: i64 = (1 << 24) - (1 << 15) - 1;

/// What a number is the quotient of by the largest whole number, or by a little less: the first four bits of that, so that it is found again.
pub fn over(least: f32) -> Option<f32> {
    let wide = f64::from(least) * MOST as f64;
    let over = f32::from_bits((wide as f32).to_bits() & 0x7ff0_0000);
    (least > 0.0 && over.is_normal() && f64::from(over) <= wide).then_some(over)
}

/// One of so many floats, or fewer, may be no quotient.
pub const FEW: usize = 8;

/// The whole number whose quotient is nearest.
pub fn number(over: f32, m: f64) -> i64 {
    libm::rint(f64::from(over) / m).clamp(1.0, MOST as f64) as i64
}

/// What a whole number stands for: the quotient, rounded once.
pub fn quotient(over: f32, number: i64) -> f32 {
    over / number as f32
}

/// The number whose quotient each of some floats is, and over what; `None` for those that are none, of which there are as few as can be.
pub fn of(floats: &[f32]) -> Option<(f32, Vec<Option<i64>>)> {
    // Machines may take others for 0.
    let normal = |m: &f32| m.is_normal() && *m > 0.0;
    let mut sizes: Vec<f32> = floats.iter().copied().filter(normal).collect();
    sizes.sort_by(f32::total_cmp);
    // One of the smallest numbers says how wide the largest whole number is.
    let mut tried: Vec<f32> = vec![];
    for least in sizes.iter().take(1 + floats.len() / FEW) {
        for grown in [*least, least * 1.0625, least * 0.9375] {
            tried.extend(over(grown).filter(|o| !tried.contains(o)));
        }
    }
    let number = |over: f32, m: &f32| {
        let v = number(over, f64::from(*m));
        (normal(m) && quotient(over, v).to_bits() == m.to_bits()).then_some(v)
    };
    let all = tried.into_iter().map(|over| {
        let numbers: Vec<_> = floats.iter().map(|m| number(over, m)).collect();
        (over, numbers)
    });
    all.max_by_key(|(_, numbers)| numbers.iter().flatten().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_found_again() {
        for over_all in [1.0, 4096.0, 0.125, 1.875] {
            let numbers: Vec<i64> = (0..300).map(|i| MOST - i * i * 77 % (MOST - 9)).collect();
            let mut floats: Vec<f32> = numbers.iter().map(|v| quotient(over_all, *v)).collect();
            floats[7] = 0.0;
            let (over, found) = of(&floats).expect("quotients");
            for (m, v) in floats.iter().zip(found) {
                assert_eq!(v.map_or(0.0, |v| quotient(over, v)), *m);
            }
        }
    }

    #[test]
    fn others_are_none() {
        let none = |floats: &[f32]| of(floats).is_none_or(|(_, v)| v.iter().any(Option::is_none));
        // The larger has more bits than its inverse is given.
        let large = f32::from_bits(0.9f32.to_bits() | 1);
        assert!(none(&[0.001, large]));
        assert!(none(&[0.5, 0.0]));
        assert!(none(&[0.5, -0.5]));
        assert!(none(&[0.5, f32::NAN]));
        assert!(none(&[f32::INFINITY]));
        assert!(none(&[f32::from_bits(1)]));
        assert!(none(&[-1.0]));
    }
}
