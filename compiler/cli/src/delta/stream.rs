//! What a patch holds: the new file as its difference from the old one, laid out so that deflate finds little to keep.
//!
//! The file is cut into pieces. A piece is stored as it is (width 0), or as the difference from a place of the old file: of numbers of 1, 2 or 4
//! bytes, least byte first, with the sign in the lowest bit. What is stored are the bytes of one significance together: where floats moved a
//! little, the higher bytes of all differences are nearly all zero.
//!
//! First comes a list of pieces: their count, then for each its width, its length in bytes (a multiple of its width) and, except for width 0, the place
//! in the old file, relative to the end of the last such piece. All are variable numbers of seven bits to a byte, least first; the last has its sign in
//! the lowest bit. Then for each width, 0 to 4, and each byte of it, least first, come those bytes of all pieces of that width. All of it is one stream
//! of zlib.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::ops::Range;

use super::align::{parts, place};

/// Bytes of a piece, except where a part ends.
const PIECE: usize = 1 << 14;
/// Widths, and how many lots of bytes each has.
const WIDTHS: [usize; 4] = [0, 1, 2, 4];
/// Bytes that are worked on at once.
const BUFFER: usize = 1 << 15;

/// A piece of the new file.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    width: usize,
    new: Range<usize>,
    // Where it comes from; nothing for width 0.
    old: usize,
}

// Bytes of a piece with the significance `lane`, appended.
fn lane_of(old: &[u8], new: &[u8], piece: &Piece, lane: usize, out: &mut Vec<u8>) {
    let now = &new[piece.new.clone()];
    let then = || &old[piece.old..piece.old + now.len()];
    match piece.width {
        0 => out.extend(now),
        1 => out.extend(
            now.iter()
                .zip(then())
                .map(|(a, b)| fold(u32::from(a.wrapping_sub(*b)), 1) as u8),
        ),
        w => out.extend(
            now.chunks_exact(w)
                .zip(then().chunks_exact(w))
                .map(|(a, b)| (fold(number(a).wrapping_sub(number(b)), w) >> (8 * lane)) as u8),
        ),
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))
}

// A difference of `width` bytes with its sign in the lowest bit, so that small ones of both signs have zeros above.
fn fold(n: u32, width: usize) -> u32 {
    let rest = 32 - 8 * width as u32;
    let n = (n << rest) as i32 >> rest;
    ((n << 1) ^ (n >> 31)) as u32 & (u32::MAX >> rest)
}

fn unfold(n: u32) -> u32 {
    (n >> 1) ^ (n & 1).wrapping_neg()
}

// What deflate makes of bytes without order, roughly: their entropy, in bits, and a table of codes.
fn cost(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    bytes.iter().for_each(|b| counts[usize::from(*b)] += 1);
    let n = bytes.len() as f64;
    let of = |c: &u32| f64::from(*c) * libm::log2(n / f64::from(*c));
    let seen = counts.iter().filter(|c| **c > 0);
    seen.map(|c| of(c) + 4.0).sum()
}

// The pieces of the new file, each with the width that costs least.
fn pieces(old: &[u8], new: &[u8]) -> Vec<Piece> {
    let mut out: Vec<Piece> = vec![];
    let mut lane = vec![];
    for part in parts(old, new) {
        let mut at = part.new.start;
        while at < part.new.end {
            // Numbers lie at multiples of their size.
            let end = ((at / PIECE + 1) * PIECE).min(part.new.end);
            let end = edge(at, part.shift, old.len()).map_or(end, |edge| end.min(edge));
            let whole = at..at + (end - at) / 4 * 4;
            let now = if whole.is_empty() { at..end } else { whole };
            at = now.end;
            let from = place(&now, part.shift, old.len());
            let mut best: Option<(f64, Piece)> = None;
            for width in WIDTHS {
                let from = match (width, &from) {
                    (0, _) => 0,
                    (_, Some(from)) if now.len() % width == 0 => from.start,
                    _ => continue,
                };
                let piece = Piece {
                    width,
                    new: now.clone(),
                    old: from,
                };
                let mut bits = 0.0;
                for k in 0..width.max(1) {
                    lane.clear();
                    lane_of(old, new, &piece, k, &mut lane);
                    bits += cost(&lane);
                }
                if best.as_ref().is_none_or(|(least, _)| bits < *least) {
                    best = Some((bits, piece));
                }
            }
            let Some((_, piece)) = best else { continue };
            match out.last_mut() {
                Some(last)
                    if last.width == piece.width
                        && (piece.width == 0 || last.old + last.new.len() == piece.old) =>
                {
                    last.new.end = piece.new.end;
                }
                _ => out.push(piece),
            }
        }
    }
    out
}

// The next place of the new file at which the old one begins or ends.
fn edge(at: usize, shift: isize, old: usize) -> Option<usize> {
    let edges = [
        shift.checked_neg()?,
        isize::try_from(old).ok()?.checked_sub(shift)?,
    ];
    let edges = edges.into_iter().filter_map(|e| usize::try_from(e).ok());
    edges.filter(|e| *e > at).min()
}

// The pieces of a width and its bytes, in the order in which they lie in the stream.
fn lots(pieces: &[Piece]) -> impl Iterator<Item = (&Piece, usize)> {
    let all = WIDTHS
        .iter()
        .flat_map(|w| (0..(*w).max(1)).map(move |lane| (*w, lane)));
    all.flat_map(move |(w, lane)| {
        let of = pieces.iter().filter(move |p| p.width == w);
        of.map(move |p| (p, lane))
    })
}

/// Writes what the new file differs by.
///
/// # Errors
/// Those of `out`.
pub fn write(old: &[u8], new: &[u8], out: &mut impl Write) -> Result<()> {
    let pieces = pieces(old, new);
    let mut head = vec![];
    put(&mut head, pieces.len() as u64);
    let mut end = 0;
    for piece in &pieces {
        put(&mut head, piece.width as u64);
        put(&mut head, piece.new.len() as u64);
        if piece.width > 0 {
            let jump = (piece.old as i64).wrapping_sub(end);
            put(&mut head, ((jump << 1) ^ (jump >> 63)) as u64);
            end = (piece.old + piece.new.len()) as i64;
        }
    }
    out.write_all(&head)?;
    let mut buffer = Vec::with_capacity(2 * BUFFER);
    for (piece, lane) in lots(&pieces) {
        let mut rest = piece.clone();
        while !rest.new.is_empty() {
            let mut now = rest.clone();
            now.new.end = now.new.end.min(now.new.start + BUFFER);
            rest.new.start = now.new.end;
            rest.old += now.new.len();
            lane_of(old, new, &now, lane, &mut buffer);
            if buffer.len() >= BUFFER {
                out.write_all(&buffer)?;
                buffer.clear();
            }
        }
    }
    out.write_all(&buffer)
}

/// Reads it: the new file, which has `size` bytes.
///
/// # Errors
/// The stream's, and that it is not one for these sizes.
pub fn read(old: &[u8], size: usize, stream: &mut impl Read) -> Result<Vec<u8>> {
    let wrong = || Error::from(ErrorKind::InvalidData);
    let mut pieces: Vec<Piece> = vec![];
    let (mut at, mut end) = (0usize, 0i64);
    let count = get(stream)?;
    for _ in 0..count {
        let width = usize::try_from(get(stream)?).map_err(|_| wrong())?;
        let len = usize::try_from(get(stream)?).map_err(|_| wrong())?;
        let till = at
            .checked_add(len)
            .filter(|t| *t <= size)
            .ok_or_else(wrong)?;
        // Empty ones would be without number.
        let fits = WIDTHS.contains(&width) && len > 0 && len % width.max(1) == 0;
        if !fits {
            return Err(wrong());
        }
        let mut from = 0;
        if width > 0 {
            let jump = get(stream)?;
            let jump = (jump >> 1) as i64 ^ ((jump & 1) as i64).wrapping_neg();
            from = usize::try_from(end.wrapping_add(jump)).map_err(|_| wrong())?;
            let last = from.checked_add(len).filter(|l| *l <= old.len());
            end = last.ok_or_else(wrong)? as i64;
        }
        pieces.push(Piece {
            width,
            new: at..till,
            old: from,
        });
        at = till;
    }
    if at != size {
        return Err(wrong());
    }
    let mut new = vec![];
    new.try_reserve_exact(size)
        .map_err(|_| Error::from(ErrorKind::OutOfMemory))?;
    new.resize(size, 0);
    let mut buffer = vec![0; BUFFER];
    for (piece, lane) in lots(&pieces) {
        let to = &mut new[piece.new.clone()];
        if piece.width < 2 {
            stream.read_exact(to)?;
            continue;
        }
        for lot in to.chunks_mut(BUFFER * piece.width) {
            let bytes = &mut buffer[..lot.len() / piece.width];
            stream.read_exact(bytes)?;
            let places = lot.iter_mut().skip(lane).step_by(piece.width);
            places.zip(bytes).for_each(|(to, b)| *to = *b);
        }
    }
    if stream.read(&mut [0])? != 0 {
        return Err(wrong());
    }
    for piece in pieces.iter().filter(|p| p.width > 0) {
        let then = &old[piece.old..piece.old + piece.new.len()];
        let now = &mut new[piece.new.clone()];
        let numbers = now.chunks_exact_mut(piece.width);
        for (now, then) in numbers.zip(then.chunks_exact(piece.width)) {
            let n = unfold(number(now)).wrapping_add(number(then));
            now.copy_from_slice(&n.to_le_bytes()[..piece.width]);
        }
    }
    Ok(new)
}

fn put(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn get(stream: &mut impl Read) -> Result<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        let bits = u64::from(byte[0] & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        n |= bits << shift;
        if byte[0] < 0x80 {
            return Ok(n);
        }
    }
    Err(Error::from(ErrorKind::InvalidData))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(old: &[u8], new: &[u8]) -> Vec<u8> {
        let mut out = vec![];
        write(old, new, &mut out).unwrap();
        assert_eq!(read(old, new.len(), &mut &out[..]).unwrap(), new);
        out
    }

    fn bytes(floats: impl Iterator<Item = f32>) -> Vec<u8> {
        floats.flat_map(f32::to_le_bytes).collect()
    }

    #[test]
    fn small_differences_have_zeros_above() {
        let wide = |k: u32| libm::sinf(k as f32) * 3.0;
        let old = bytes((0..20_000).map(wide));
        let new = bytes((0..20_000).map(|k| wide(k) * (1.0 + 1e-5 * libm::cosf(k as f32 * 7.0))));
        let found = pieces(&old, &new);
        assert!(found.iter().all(|p| p.width == 4), "{found:?}");
        let out = there_and_back(&old, &new);
        let zeros = out.iter().filter(|b| **b == 0).count();
        assert!(zeros > 2 * 20_000, "{zeros}");
        // Bytes that moved by one, and noise, which is stored as it is.
        let other: Vec<u8> = old
            .iter()
            .enumerate()
            .map(|(k, b)| b.wrapping_add((k % 3) as u8))
            .collect();
        let found = pieces(&old, &other);
        assert!(found.iter().all(|p| p.width == 1), "{found:?}");
        there_and_back(&old, &other);
        there_and_back(&old, &[5; 777]);
        there_and_back(&[], &old);
        there_and_back(&old, &[]);
        for cut in [1, 2, 3, 63, 64, 65, 40_001] {
            there_and_back(&old, &new[cut..]);
            there_and_back(&old[cut..], &new);
            there_and_back(&old[..cut], &new[..cut]);
        }
    }

    #[test]
    fn differences_are_folded_and_unfolded() {
        for width in [1, 2, 4] {
            let all = u32::MAX >> (32 - 8 * width as u32);
            for n in [0, 1, 2, 77, all / 2, all / 2 + 1, all - 1, all] {
                assert_eq!(unfold(fold(n, width)) & all, n, "{width} {n}");
            }
            assert_eq!((fold(1, width), fold(all, width)), (2, 1));
        }
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let old: Vec<u8> = (0..200u8).collect();
        let new: Vec<u8> = (0..250u8).map(|b| b ^ 3).collect();
        let good = there_and_back(&old, &new);
        for k in 0..good.len() {
            assert!(read(&old, new.len(), &mut &good[..k]).is_err());
            for change in [1, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[k] ^= change;
                // An error or another file, but no panic.
                assert_ne!(
                    read(&old, new.len(), &mut &bad[..]).ok(),
                    Some(new.clone()),
                    "{k}"
                );
            }
        }
        assert!(read(&old, new.len() - 1, &mut &good[..]).is_err());
        assert!(read(&old, new.len() + 1, &mut &good[..]).is_err());
        assert!(read(&old[1..], new.len(), &mut &good[..]).is_err());
        let longer = [&good[..], &[0]].concat();
        assert!(read(&old, new.len(), &mut &longer[..]).is_err());
        assert!(read(&old, 1, &mut &[0xff; 20][..]).is_err());
    }
}
