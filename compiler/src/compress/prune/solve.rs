//! Linear systems of symmetric, positive matrices: by a factor where all unknowns are free, by conjugate gradients where some stay 0.

/// The lower triangle `[n, n]` of `L` with `L L' = H + damping`. `None`: not positive.
pub(super) fn factor(h: &[f64], n: usize, damping: f64) -> Option<Vec<f64>> {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        let (above, own) = l.split_at_mut(i * n);
        for j in 0..i {
            let other = &above[j * n..j * n + j + 1];
            own[j] = (h[i * n + j] - dot(&own[..j], &other[..j])) / other[j];
        }
        let pivot = h[i * n + i] + damping - dot(&own[..i], &own[..i]);
        if !(pivot.is_finite() && pivot > 0.0) {
            return None;
        }
        own[i] = libm::sqrt(pivot);
    }
    Some(l)
}

/// Solves `L L' x = b` in place.
pub(super) fn solve(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let s = dot(&l[i * n..i * n + i], &b[..i]);
        b[i] = (b[i] - s) / l[i * n + i];
    }
    for i in (0..n).rev() {
        b[i] /= l[i * n + i];
        let v = b[i];
        for (x, l) in b[..i].iter_mut().zip(&l[i * n..i * n + i]) {
            *x -= l * v;
        }
    }
}

/// Solves `(H + damping) x = b` where only the unknowns that `free` lists may differ from 0; `h` is full and symmetric. Gives those unknowns.
pub(super) fn solve_some(h: &[f64], n: usize, damping: f64, free: &[usize], b: &[f64]) -> Vec<f64> {
    let m = free.len();
    let rhs: Vec<f64> = free.iter().map(|k| b[*k]).collect();
    let scale: Vec<f64> = free
        .iter()
        .map(|k| 1.0 / (h[k * n + k] + damping).max(f64::MIN_POSITIVE))
        .collect();
    // The free part lies side by side: it is walked many times.
    let part: Vec<f64> = (free.iter())
        .flat_map(|i| free.iter().map(move |j| h[i * n + j]))
        .collect();
    let mut x = vec![0.0; m];
    let mut r = rhs.clone();
    let mut z: Vec<f64> = r.iter().zip(&scale).map(|(r, s)| r * s).collect();
    let mut p = z.clone();
    let mut rz = dot(&r, &z);
    let enough = rz.abs() * 1e-12;
    for _ in 0..(4 * m).min(200) {
        if !(rz.is_finite() && rz > enough && rz > 0.0) {
            break;
        }
        let hp: Vec<f64> = (0..m)
            .map(|i| dot(&part[i * m..(i + 1) * m], &p) + damping * p[i])
            .collect();
        let curve = dot(&p, &hp);
        if !(curve.is_finite() && curve > 0.0) {
            break;
        }
        let step = rz / curve;
        for i in 0..m {
            x[i] += step * p[i];
            r[i] -= step * hp[i];
            z[i] = r[i] * scale[i];
        }
        let next = dot(&r, &z);
        let turn = next / rz;
        for i in 0..m {
            p[i] = z[i] + turn * p[i];
        }
        rz = next;
    }
    x
}

/// Eight sums at a time, always in the same order.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut eight = [0.0; 8];
    let (x, y) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (x, y) in x.0.iter().zip(y.0) {
        for k in 0..8 {
            eight[k] += x[k] * y[k];
        }
    }
    let rest: f64 = x.1.iter().zip(y.1).map(|(x, y)| x * y).sum();
    eight.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_agree() {
        // A matrix of cosines of distances, and what numpy.linalg.solve says of the smallest case.
        let h = [4.0, 1.0, 1.0, 3.0];
        let l = factor(&h, 2, 0.0).unwrap();
        let mut b = [1.0, 2.0];
        solve(&l, 2, &mut b);
        assert!((b[0] - 1.0 / 11.0).abs() < 1e-12 && (b[1] - 7.0 / 11.0).abs() < 1e-12);
        let n = 13;
        let h: Vec<f64> = (0..n * n)
            .map(|i| libm::pow(0.7, usize::abs_diff(i / n, i % n) as f64))
            .collect();
        let b: Vec<f64> = (0..n).map(|i| libm::sin(i as f64)).collect();
        let mut x = b.clone();
        solve(&factor(&h, n, 0.1).unwrap(), n, &mut x);
        let all: Vec<usize> = (0..n).collect();
        let y = solve_some(&h, n, 0.1, &all, &b);
        assert!(
            x.iter().zip(&y).all(|(a, b)| (a - b).abs() < 1e-5),
            "{x:?} {y:?}"
        );
        // Some alone: the system of those rows and columns.
        let y = solve_some(
            &[4.0, 9.0, 1.0, 9.0, 1.0, 9.0, 1.0, 9.0, 3.0],
            3,
            0.0,
            &[0, 2],
            &[1.0, 5.0, 2.0],
        );
        assert!((y[0] - 1.0 / 11.0).abs() < 1e-9 && (y[1] - 7.0 / 11.0).abs() < 1e-9);
        assert!(factor(&[1.0, 0.0, 2.0, 1.0], 2, 0.0).is_none());
    }
}
