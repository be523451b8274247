//! SHA-256 (FIPS 180-4), for the digests of weights files. Plain code: it runs once per file.

// Fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// The digest of `data`.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    // Fractional parts of the square roots of the first 8 primes (5.3.3).
    let mut h = [
        0x6a09e667u32,
        0xbb67ae85,
        0x3c6ef372,
        0xa54ff53a,
        0x510e527f,
        0x9b05688c,
        0x1f83d9ab,
        0x5be0cd19,
    ];
    let (blocks, rest) = data.as_chunks::<64>();
    blocks.iter().for_each(|b| block(&mut h, b));
    // Padding (5.1.1): a one bit, zeros, and the length in bits, in one block or two.
    let mut tail = [0u8; 128];
    tail.iter_mut()
        .zip(rest.iter().chain(&[0x80]))
        .for_each(|(t, b)| *t = *b);
    let two = rest.len() >= 56;
    let length = ((data.len() as u64).wrapping_mul(8)).to_be_bytes();
    tail.iter_mut()
        .skip(if two { 120 } else { 56 })
        .zip(length)
        .for_each(|(t, b)| *t = b);
    let (blocks, _) = tail.as_chunks::<64>();
    blocks
        .iter()
        .take(if two { 2 } else { 1 })
        .for_each(|b| block(&mut h, b));
    let mut out = [0; 32];
    out.iter_mut()
        .zip(h.iter().flat_map(|w| w.to_be_bytes()))
        .for_each(|(o, b)| *o = b);
    out
}

// 6.2.2. The message schedule is kept as a ring of 16 words.
fn block(h: &mut [u32; 8], bytes: &[u8; 64]) {
    let mut w = [0u32; 16];
    let (words, _) = bytes.as_chunks::<4>();
    w.iter_mut()
        .zip(words)
        .for_each(|(w, b)| *w = u32::from_be_bytes(*b));
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut hh] = *h;
    for k in K {
        let [w0, w1, .., w14, _] = w;
        let w9 = w.get(9).copied().unwrap_or(0);
        let t1 = hh
            .wrapping_add(e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25))
            .wrapping_add((e & f) ^ (!e & g))
            .wrapping_add(k)
            .wrapping_add(w0);
        let t2 = (a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22))
            .wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (hh, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
        let next = w0
            .wrapping_add(w1.rotate_right(7) ^ w1.rotate_right(18) ^ (w1 >> 3))
            .wrapping_add(w9)
            .wrapping_add(w14.rotate_right(17) ^ w14.rotate_right(19) ^ (w14 >> 10));
        w.rotate_left(1);
        if let Some(last) = w.last_mut() {
            *last = next;
        }
    }
    let v = [a, b, c, d, e, f, g, hh];
    h.iter_mut()
        .zip(v)
        .for_each(|(h, v)| *h = h.wrapping_add(v));
}

#[cfg(test)]
mod tests {
    use super::*;

    // FIPS 180-4 examples, and lengths around the padding's edges (values from `sha256sum`).
    #[test]
    fn known_digests() {
        let hex = |d: &[u8]| {
            sha256(d)
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
        };
        assert_eq!(
            hex(b""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            hex(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        );
        assert_eq!(
            hex(&[b'a'; 55]),
            "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"
        );
        assert_eq!(
            hex(&[b'a'; 64]),
            "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"
        );
        assert_eq!(
            hex(&[b'a'; 1000]),
            "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"
        );
    }
}
