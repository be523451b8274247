//! In which order a tile's loads and multiply-adds are written down, and which registers hold what is loaded.
//!
//! A core that issues in order waits for a load that the next instruction needs. So loads run ahead: whenever a register is
//! free, one load is put behind a multiply-add, across steps of k. What a tile computes does not depend on it: for each
//! accumulator, multiply-adds stay in the order of k.

/// One entry of the order. Registers are numbers from 0 to `registers - 1`, to be mapped by the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Load vector `j` of B's row.
    LoadB { j: usize, reg: usize },
    /// All of B's row is loaded: go to the next.
    NextB,
    /// Load A's element of row `i`.
    LoadA { i: usize, reg: usize },
    /// All of A's column is loaded: go to the next.
    NextA,
    /// Accumulator (i, j) += A in `a` times B in `b`.
    Fma {
        i: usize,
        j: usize,
        a: usize,
        b: usize,
    },
}

/// A loaded value: which element, and in which step of k.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    A(usize, usize),
    B(usize, usize),
}

struct State {
    /// What each register holds, and how many multiply-adds still need it.
    held: Vec<Option<(Value, usize)>>,
    queue: std::collections::VecDeque<Value>,
    rows: usize,
    cols: usize,
    ops: Vec<Op>,
}

impl State {
    /// Issues the next load if a register is free.
    fn load(&mut self) -> bool {
        let Some(reg) = self.held.iter().position(Option::is_none) else {
            return false;
        };
        let Some(value) = self.queue.pop_front() else {
            return false;
        };
        match value {
            Value::A(_, i) => {
                self.held[reg] = Some((value, self.cols));
                self.ops.push(Op::LoadA { i, reg });
                if i + 1 == self.rows {
                    self.ops.push(Op::NextA);
                }
            }
            Value::B(_, j) => {
                self.held[reg] = Some((value, self.rows));
                self.ops.push(Op::LoadB { j, reg });
                if j + 1 == self.cols {
                    self.ops.push(Op::NextB);
                }
            }
        }
        true
    }
    /// The register that holds a value, which is loaded now if it was not.
    fn take(&mut self, value: Value) -> Option<usize> {
        loop {
            if let Some(reg) = self
                .held
                .iter()
                .position(|h| h.is_some_and(|(v, _)| v == value))
            {
                return Some(reg);
            }
            if !self.load() {
                return None;
            }
        }
    }
    fn release(&mut self, reg: usize) {
        self.held[reg] = match self.held[reg] {
            Some((v, n)) if n > 1 => Some((v, n - 1)),
            _ => None,
        };
    }
}

/// The order for `steps` steps of k of a tile of `rows` x `cols` vectors; `None` with fewer than `cols + 1` registers.
pub fn schedule(rows: usize, cols: usize, steps: usize, registers: usize) -> Option<Vec<Op>> {
    // Loads in the order in which the multiply-adds first need them.
    let mut queue = std::collections::VecDeque::new();
    for k in 0..steps {
        queue.extend([Value::B(k, 0), Value::A(k, 0)]);
        queue.extend((1..cols).map(|j| Value::B(k, j)));
        queue.extend((1..rows).map(|i| Value::A(k, i)));
    }
    let mut s = State {
        held: vec![None; registers],
        queue,
        rows,
        cols,
        ops: Vec::new(),
    };
    // As much as registers hold before the first multiply-add, but no further than its own step.
    for _ in 0..(rows + cols).min(registers) {
        s.load();
    }
    for k in 0..steps {
        for i in 0..rows {
            for j in 0..cols {
                let a = s.take(Value::A(k, i))?;
                let b = s.take(Value::B(k, j))?;
                s.ops.push(Op::Fma { i, j, a, b });
                s.release(a);
                s.release(b);
                s.load();
            }
        }
    }
    Some(s.ops)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replays an order over symbolic registers: every multiply-add must find the right elements, k ascending.
    #[test]
    fn every_order_is_right() {
        for (rows, cols, steps) in [
            (1, 1, 1),
            (8, 3, 1),
            (8, 3, 4),
            (5, 2, 4),
            (1, 3, 4),
            (7, 1, 4),
        ] {
            for registers in [cols + 1, cols + 2, 8, 12] {
                let ops = schedule(rows, cols, steps, registers.max(cols + 1)).unwrap();
                let mut regs = vec![None; registers.max(cols + 1)];
                let (mut ka, mut kb) = (0, 0);
                let mut done = vec![0; rows * cols];
                for op in ops {
                    match op {
                        Op::LoadA { i, reg } => regs[reg] = Some(('a', ka, i)),
                        Op::LoadB { j, reg } => regs[reg] = Some(('b', kb, j)),
                        Op::NextA => ka += 1,
                        Op::NextB => kb += 1,
                        Op::Fma { i, j, a, b } => {
                            let k = done[i * cols + j];
                            assert_eq!((regs[a], regs[b]), (Some(('a', k, i)), Some(('b', k, j))));
                            done[i * cols + j] += 1;
                        }
                    }
                }
                assert!(ka == steps && kb == steps && done.iter().all(|d| *d == steps));
            }
        }
        assert!(schedule(8, 3, 1, 3).is_none());
    }
}
