//! Products of floats where columns fill half a vector, and where B isn't known: packed, and read where it lies.

use super::*;
use crate::base::dtype::DType;

static HALF: Tile = Tile {
    name: "gemm_strip_f32_half_test",
    needs: &["avx2"],
    ..STRIP
};

/// Sixteen lanes, with tiles of eight.
fn wide() -> Machine {
    let narrow = machine();
    let vector = narrow.vector.map(|v| Vector {
        lanes: 16,
        registers: 32,
        rows: 30,
        ..v
    });
    Machine {
        features: vec!["avx2".into()],
        tiles: vec![&STRIP, &HALF],
        vector,
        ..narrow
    }
}

/// The strips of products of two pairs of matrices, which must be what the definition says.
fn product(machine: &Machine, (m, n, k): (i64, i64, i64), tb: bool, konst: bool) {
    let b_shape = match tb {
        true => [2, n, k],
        false => [2, k, n],
    };
    let (a, b) = (values(&[2, m, k], 1), values(&b_shape, 2));
    let row = gemm::GEMM
        .rows
        .iter()
        .find(|r| r.name == "gemm_f32_strip")
        .expect("strips");
    let attrs = Attrs::default().with("trans_b", Attr::Int(i64::from(tb)));
    let inputs = [Some((a.clone(), false)), Some((b.clone(), konst))];
    let out = TensorType::fixed(DType::F32, &[2, m, n]);
    let got = run_noted(machine, &gemm::GEMM, row, &attrs, &inputs, out, None).expect("it runs");
    let (x, y) = (a.to_f32s().unwrap(), b.to_f32s().unwrap());
    let sum = |e: i64| -> f32 {
        let (which, i, j) = (e / (m * n), e / n % m, e % n);
        let product = |p: i64| {
            let at = if tb { j * k + p } else { p * n + j };
            x[((which * m + i) * k + p) as usize] * y[(which * k * n + at) as usize]
        };
        (0..k).map(product).sum()
    };
    let want: Vec<f32> = (0..2 * m * n).map(sum).collect();
    let got: Vec<f32> = (got.as_chunks::<4>().0.iter())
        .map(|c| f32::from_le_bytes(*c))
        .collect();
    assert_eq!(got, want, "{m}x{n}x{k} {tb} {konst}");
}

#[test]
fn columns_that_fill_half_a_vector() {
    for n in [1, 5, 8, 12, 16, 20, 24, 40] {
        for (tb, konst) in [(false, false), (true, false), (false, true)] {
            product(&wide(), (30, n, 7), tb, konst);
        }
    }
}

#[test]
fn matrices_that_are_packed_end_where_they_end() {
    for machine in [machine(), wide()] {
        // Many rows; few under a matrix that lies far away, or whose rows crowd the caches; columns that are fewer than those of a vector beyond them.
        for sizes in [
            (257, 21, 5),
            (30, 521, 18),
            (30, 512, 3),
            (257, 3, 9),
            (257, 1, 4),
        ] {
            for tb in [false, true] {
                product(&machine, sizes, tb, false);
            }
        }
        // Near: read where it lies.
        product(&machine, (50, 50, 64), false, false);
    }
}
