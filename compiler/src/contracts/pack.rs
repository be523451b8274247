//! Constant operands laid out at compile time as kernels read them, and how rows are cut into tiles.

/// Rows cut into tiles that differ by one row at most, so that none is nearly empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowTiles {
    /// Number of large tiles; they come first.
    pub large: i64,
    /// Rows of a large tile.
    pub rows: i64,
    /// Number of tiles with one row less.
    pub small: i64,
}

impl RowTiles {
    /// `m` rows in tiles of `mr` at most.
    pub fn of(m: i64, mr: i64) -> RowTiles {
        let tiles = ((m + mr - 1) / mr).max(1);
        let (base, extra) = (m / tiles, m % tiles);
        if extra == 0 {
            RowTiles {
                large: tiles,
                rows: base,
                small: 0,
            }
        } else {
            RowTiles {
                large: extra,
                rows: base + 1,
                small: tiles - extra,
            }
        }
    }
    /// Groups of equal tiles: (first row, number of tiles, rows of each).
    pub fn groups(&self) -> Vec<(i64, i64, i64)> {
        let mut out = vec![(0, self.large, self.rows)];
        if self.small > 0 {
            out.push((self.large * self.rows, self.small, self.rows - 1));
        }
        out.retain(|g| g.1 > 0 && g.2 > 0);
        out
    }
}

/// `[rows][k]` (element (i, p) at `at(i, p)`) as panels `[tile][k][rows of the tile]`: panel of the tile that begins at row
/// `i` begins at element `i * k`.
pub fn row_panels(tiles: RowTiles, k: i64, at: impl Fn(i64, i64) -> f32) -> Vec<f32> {
    let mut out = vec![];
    for (first, count, rows) in tiles.groups() {
        for t in 0..count {
            for p in 0..k {
                out.extend((0..rows).map(|r| at(first + t * rows + r, p)));
            }
        }
    }
    out
}

/// `[k][n]` (element (p, j) at `at(p, j)`) as panels `[column tile][k][nr]`, zeros behind the last column.
pub fn column_panels(k: i64, n: i64, nr: i64, at: impl Fn(i64, i64) -> f32) -> Vec<f32> {
    let mut out = vec![];
    for t in 0..(n + nr - 1) / nr {
        for p in 0..k {
            out.extend((t * nr..t * nr + nr).map(|j| if j < n { at(p, j) } else { 0.0 }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_tiles_are_equal() {
        let groups = |m, mr| RowTiles::of(m, mr).groups();
        assert_eq!(groups(49, 6), [(0, 4, 6), (24, 5, 5)]);
        assert_eq!(groups(24, 6), [(0, 4, 6)]);
        assert_eq!(groups(7, 6), [(0, 1, 4), (4, 1, 3)]);
        assert_eq!(groups(1, 6), [(0, 1, 1)]);
        assert!(groups(0, 6).is_empty());
    }
    #[test]
    fn panels_hold_every_element_once() {
        let t = RowTiles::of(3, 2);
        let p = row_panels(t, 2, |i, p| (i * 10 + p) as f32);
        assert_eq!(p, [0.0, 10.0, 1.0, 11.0, 20.0, 21.0]);
        let p = column_panels(2, 3, 2, |p, j| (p * 10 + j) as f32);
        assert_eq!(p, [0.0, 1.0, 10.0, 11.0, 2.0, 0.0, 12.0, 0.0]);
    }
}
