//! Symbols and sizes in the text forms.
//!
//! What is written is read back as an equal value, given the same table of symbols.

use super::{Cursor, MAX_DEPTH, Result, Token, is_plain};
use crate::base::dim::{Atom, Dim, Origin, SymId, Symbol, Symbols};

/// A symbol in text: `$name`, or `$3` where the name is not plain or not the only one.
pub fn symbol_text(s: SymId, symbols: &Symbols) -> String {
    match symbols.get(s) {
        Some(sym)
            if is_plain(&sym.name) && symbols.iter().all(|(i, o)| i == s || o.name != sym.name) =>
        {
            format!("${}", sym.name)
        }
        _ => format!("${}", s.0),
    }
}

/// Reads what [`symbol_text`] writes.
pub fn symbol(c: &mut Cursor, symbols: &Symbols) -> Result<SymId> {
    let start = c.clone();
    let word = c.word()?;
    let found = word.strip_prefix('$').and_then(|name| match name.parse() {
        Ok(n) => Some(SymId(n)),
        Err(_) => symbols.iter().find(|(_, s)| s.name == name).map(|(i, _)| i),
    });
    match found {
        Some(s) => Ok(s),
        None => start.error(format!(
            "`{word}` is no symbol; symbols are declared before"
        )),
    }
}

/// A dimension in text: `4*$N+1`, `div($N+3, 4)`.
pub fn dim_text(d: &Dim, symbols: &Symbols) -> String {
    let Dim::Expr(sum) = d else {
        return d.fixed().unwrap_or(0).to_string();
    };
    let atom = |a: &Atom| {
        let two = |name: &str, x: &Dim, y: &Dim| {
            format!("{name}({}, {})", dim_text(x, symbols), dim_text(y, symbols))
        };
        match a {
            Atom::Sym(s) => symbol_text(*s, symbols),
            Atom::Div(x, y) => two("div", x, y),
            Atom::Mod(x, y) => two("mod", x, y),
            Atom::Max(x, y) => two("max", x, y),
            Atom::Min(x, y) => two("min", x, y),
        }
    };
    let mut out = String::new();
    // Products first, the number last.
    for (atoms, c) in sum.0.iter().rev() {
        if !out.is_empty() && *c >= 0 {
            out.push('+');
        }
        let mut parts: Vec<String> = atoms.iter().map(atom).collect();
        match *c {
            1 if !parts.is_empty() => {}
            -1 if !parts.is_empty() => out.push('-'),
            c => parts.insert(0, c.to_string()),
        }
        out.push_str(&parts.join("*"));
    }
    out
}

/// Reads what [`dim_text`] writes.
pub fn dim(c: &mut Cursor, symbols: &Symbols) -> Result<Dim> {
    dim_at(c, symbols, 0)
}

fn dim_at(c: &mut Cursor, symbols: &Symbols, depth: usize) -> Result<Dim> {
    if depth > MAX_DEPTH {
        return c.error("this nests too deeply");
    }
    let mut total = Dim::Fixed(0);
    let mut first = true;
    loop {
        let negative = c.eat("-");
        if !negative && !c.eat("+") && !first {
            return Ok(total);
        }
        first = false;
        let mut product = Dim::Fixed(if negative { -1 } else { 1 });
        loop {
            product = product * factor(c, symbols, depth)?;
            if !c.eat("*") {
                break;
            }
        }
        total = total + product;
    }
}

fn factor(c: &mut Cursor, symbols: &Symbols, depth: usize) -> Result<Dim> {
    match c.peek().clone() {
        Token::Number(_) => Ok(Dim::Fixed(c.int()?)),
        Token::Word(w) if w.starts_with('$') => Ok(Dim::sym(symbol(c, symbols)?)),
        Token::Word(w) => {
            let start = c.clone();
            c.take();
            c.expect("(")?;
            let x = dim_at(c, symbols, depth + 1)?;
            c.expect(",")?;
            let y = dim_at(c, symbols, depth + 1)?;
            c.expect(")")?;
            let d = match w.as_str() {
                "div" => x.floor_div(&y),
                "mod" => x.modulo(&y),
                "max" => Some(x.larger(&y)),
                "min" => Some(x.smaller(&y)),
                _ => return start.error(format!("`{w}` is no operation on sizes")),
            };
            match d {
                Some(d) => Ok(d),
                None => start.error("a size is divided by what is not positive"),
            }
        }
        t => c.error(format!("expected a size, found {t}")),
    }
}

/// Reads `sym NAME = LO..HI` lines, each with `input I axis A` or `data` after it, as long as they come.
pub fn symbols(c: &mut Cursor) -> Result<Symbols> {
    let mut out = Symbols::default();
    while c.eat("sym") {
        let name = match c.peek() {
            Token::Str(_) => c.string()?,
            _ => c.word()?,
        };
        c.expect("=")?;
        let lo = c.int()?;
        c.expect("..")?;
        let hi = c.int()?;
        let origin = if c.eat("input") {
            let input = c.int()?.max(0) as usize;
            c.expect("axis")?;
            let axis = c.int()?.max(0) as usize;
            Origin::Input { input, axis }
        } else {
            c.expect("data")?;
            Origin::Data
        };
        out.push(Symbol {
            name,
            lo,
            hi,
            origin,
        });
    }
    Ok(out)
}

/// Writes what [`symbols`] reads.
pub fn symbols_text(symbols: &Symbols) -> String {
    let mut out = String::new();
    for (id, s) in symbols.iter() {
        let name = match symbol_text(id, symbols) == format!("${}", s.name) {
            true => s.name.clone(),
            false => format!("{:?}", s.name),
        };
        let origin = match s.origin {
            Origin::Input { input, axis } => format!("input {input} axis {axis}"),
            Origin::Data => "data".to_string(),
        };
        out.push_str(&format!("sym {name} = {}..{} {origin}\n", s.lo, s.hi));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_round_trip() {
        let mut c = Cursor::new("sym N = 1..64 input 0 axis 2\nsym \"a b\" = 0..9 data\n").unwrap();
        let table = symbols(&mut c).unwrap();
        assert_eq!(
            symbols(&mut Cursor::new(&symbols_text(&table)).unwrap()).unwrap(),
            table
        );
        for text in [
            "7",
            "-3",
            "4*$N+1",
            "$N*$1-2",
            "div($N+3, 4)",
            "max($1, $N)",
            "-$N",
            "mod($N, 5)*$1",
        ] {
            let d = dim(&mut Cursor::new(text).unwrap(), &table).unwrap();
            let back = dim(&mut Cursor::new(&dim_text(&d, &table)).unwrap(), &table).unwrap();
            assert_eq!(back, d, "{text} became {}", dim_text(&d, &table));
        }
        for text in ["$M", "div($N, 0)", "4*", "sqrt(1, 2)", ""] {
            assert!(
                dim(&mut Cursor::new(text).unwrap(), &table).is_err(),
                "{text}"
            );
        }
    }
}
