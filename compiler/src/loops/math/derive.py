#!/usr/bin/env python3
"""Derives the coefficients in this folder: polynomials through the Chebyshev nodes of an interval, in 60 digits.

f64 tables are Chebyshev interpolants (within a small factor of the best polynomial, one degree above need); f32 tables
are refined by Lawson's reweighting towards the smallest largest error of the final result. Needs mpmath and numpy.
"""
import numpy as np
from mpmath import mp, mpf, exp, log, sin, cos, sinh, tanh, asin, atan, atanh, erf, erfc, sqrt, pi, lu_solve, matrix

mp.dps = 60

def cheb(f, lo, hi, deg):
    """Coefficients, lowest first, of the interpolant of degree deg."""
    n = deg + 1
    xs = [(lo + hi) / 2 + (hi - lo) / 2 * cos(pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    a = matrix(n, n)
    for i, x in enumerate(xs):
        for j in range(n):
            a[i, j] = x**j
    return list(lu_solve(a, matrix([f(x) for x in xs])))

def worst(f, c, lo, hi, weight, n=400):
    w = mpf(0)
    for k in range(1, n + 1):
        x = lo + (hi - lo) * mpf(k) / n
        p = sum(ci * x**i for i, ci in enumerate(c))
        w = max(w, abs((p - f(x)) * weight(x)))
    return float(log(w, 2))

def lawson(f, lo, hi, deg, weight, n=300, rounds=200):
    xs = (lo + hi) / 2 + (hi - lo) / 2 * np.cos(np.pi * (2 * np.arange(n) + 1) / (2 * n))
    ys = np.array([float(f(mpf(float(x)))) for x in xs])
    ws = np.array([abs(float(weight(mpf(float(x))))) for x in xs])
    mid, half = (lo + hi) / 2, (hi - lo) / 2
    v = np.polynomial.chebyshev.chebvander((xs - mid) / half, deg)
    l = np.ones(n) / n
    for _ in range(rounds):
        s = np.sqrt(l) * ws
        c, *_ = np.linalg.lstsq(v * s[:, None], ys * s, rcond=None)
        e = np.abs(v @ c - ys) * ws
        l = l * e
        l /= l.sum()
    p = np.polynomial.Polynomial(np.polynomial.chebyshev.cheb2poly(c))
    p = p(np.polynomial.Polynomial([-mid / half, 1 / half]))
    return list(p.coef), float(np.log2(e.max()))

def show64(name, f, lo, hi, deg, weight):
    lo, hi = mpf(lo), mpf(hi)
    c = cheb(f, lo, hi, deg)
    c64 = [float(x) for x in c]
    print(f"// {name}: degree {deg} on {float(lo):.6g}..{float(hi):.6g}, error 2^{worst(f, c64, lo, hi, weight):.1f}")
    print("[" + ", ".join(repr(x) for x in c64) + "]")

def show32(name, f, lo, hi, deg, weight):
    c, e = lawson(f, float(lo), float(hi), deg, weight)
    c32 = [float(np.float32(x)) for x in c]
    w = worst(f, [mpf(x) for x in c32], mpf(lo) + mpf(10)**-9, mpf(hi), weight)
    print(f"// {name}: degree {deg} on {float(lo):.6g}..{float(hi):.6g}, error 2^{e:.1f}, with f32 coefficients 2^{w:.1f}")
    print("[" + ", ".join(repr(np.float32(x)).replace("np.float32(", "").replace(")", "") for x in c) + "]")

if __name__ == "__main__":
    r0, tiny = log(2) / 2 * mpf("1.0005"), mpf(10)**-20
    q = lambda r: (exp(r) - 1 - r) / r**2 if abs(r) > mpf(10)**-15 else mpf(1) / 2 + r / 6
    show32("exp Q32", q, -r0, r0, 4, lambda r: r * r / exp(r))
    show64("exp Q64", q, -r0, r0, 10, lambda r: r * r / exp(r))
    z1 = mpf("0.02945")  # ((sqrt 2 - 1) / (sqrt 2 + 1))^2
    odd = lambda f, z: f(sqrt(z)) / sqrt(z)
    show64("log R", lambda z: (2 * odd(atanh, z) - 2) / z, tiny, z1, 6, lambda z: z / 2)
    third = lambda x: (log(1 + x) - x + x * x / 2) / x**3 if abs(x) > mpf(10)**-12 else mpf(1) / 3 - x / 4
    ends = [mpf("1.0005") * (m - 1) for m in (sqrt(mpf(1) / 2), sqrt(mpf(2)))]
    show32("log P32", third, *ends, 7, lambda x: x**3 / log(1 + x) if x else x)
    show64("pow R", lambda z: (2 * odd(atanh, z) - 2 - 2 * z / 3) / z**2, tiny, z1, 6, lambda z: z * z / 2)
    show32("tanh P", lambda z: (odd(tanh, z) - 1) / z, 1e-12, 0.625**2, 4, lambda z: z)
    z2 = (pi / 4)**2 * mpf("1.001")
    show64("trig SIN", lambda z: (odd(sin, z) - 1) / z, tiny, z2, 6, lambda z: z)
    show64("trig COS", lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2, tiny, z2, 6, lambda z: z * z)
    show32("trig_32 SIN", lambda z: (odd(sin, z) - 1) / z, 1e-12, z2, 2, lambda z: z)
    show32("trig_32 COS", lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2, 1e-12, z2, 2, lambda z: z * z)
    show32("arc ASIN_32", lambda z: (odd(asin, z) - 1) / z, 1e-12, 0.2501, 4, lambda z: z)
    show32("arc ATAN_32", lambda z: (odd(atan, z) - 1) / z, 1e-12, 1, 8, lambda z: z)
    show32("hyperbolic SINH_32", lambda z: (odd(sinh, z) - 1) / z, 1e-12, 1.001, 2, lambda z: z / odd(sinh, z))
    show32("hyperbolic ATANH_32", lambda z: (odd(atanh, z) - 1) / z, 1e-12, 0.2501, 5, lambda z: z)
    show32("pow R_32", lambda z: (2 * odd(atanh, z) - 2 - 2 * z / 3) / z**2, 1e-9, z1, 2, lambda z: z * z / 2)
    show64("arc ASIN", lambda z: (odd(asin, z) - 1) / z, tiny, mpf("0.2501"), 12, lambda z: z)
    show64("arc ATAN", lambda z: (odd(atan, z) - 1) / z, tiny, mpf("0.1717"), 12, lambda z: z)
    show32("erf NEAR_32", lambda z: odd(erf, z) - 1, 1e-12, 0.81, 6, lambda z: 1)
    show32("erf FAR_32", lambda x: log(erfc(x)), 0.84, 4.0, 7, lambda x: erfc(x))
    show64("erf NEAR_64", lambda z: odd(erf, z) - 1, tiny, 1, 14, lambda z: 1)
    show64("erf FAR_64", lambda x: log(erfc(x)), mpf("0.999"), 6, 24, lambda x: erfc(x))
