//! The tokens of the text forms, shared by both IRs, and sizes in them.
//!
//! A text is words, numbers, strings and punctuation; `;` begins a comment that ends with the line. A word is letters,
//! digits and `_`, with `.` inside, and may begin with one of `% @ $ #`. A number may end in letters (`2.5f64`, `7i32`).
//! Errors carry line and column, counted from 1. Parsing never panics, whatever the text.

use super::diag::Diagnostic;
use crate::base::id::Id;
use std::fmt;
use std::sync::Arc;

mod size;

pub use size::{dim, dim_text, symbol, symbol_text, symbols, symbols_text};

/// What is wrong with a text, and where.
#[derive(Clone, PartialEq, Debug)]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// In one sentence.
    pub message: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl From<TextError> for Box<Diagnostic> {
    fn from(e: TextError) -> Box<Diagnostic> {
        Diagnostic::usage("USE002", format!("the text can't be read: {e}"))
    }
}

/// Result of reading a text.
pub type Result<T> = std::result::Result<T, TextError>;

/// One token.
#[derive(Clone, PartialEq, Debug)]
pub enum Token {
    /// A word, its sigil included.
    Word(String),
    /// A number as written, without sign.
    Number(String),
    /// A string's content.
    Str(String),
    /// Punctuation: one character, or one of the pairs in [`PAIRS`].
    Punct(&'static str),
    /// The end of the text.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(s) | Token::Number(s) => write!(f, "`{s}`"),
            Token::Str(s) => write!(f, "{s:?}"),
            Token::Punct(s) => write!(f, "`{s}`"),
            Token::End => f.write_str("the end"),
        }
    }
}

/// Punctuation of more than one character, the longer first.
pub const PAIRS: &[&str] = &[
    ">>>", "->", "=>", "==", "!=", "<=", ">=", "<<", ">>", "..", "::",
];
const SINGLES: &[&str] = &[
    "(", ")", "[", "]", "{", "}", "<", ">", ",", ":", "=", "+", "-", "*", "/", "%", "&", "|", "^",
    "!", "?", ".", "@", "$", "#", "~",
];

/// A position in a text; cheap to clone, to come back to or to report an error at.
#[derive(Clone)]
pub struct Cursor {
    tokens: Arc<Vec<(Token, usize, usize)>>,
    at: usize,
}

/// Texts nest this deep at most.
pub const MAX_DEPTH: usize = 100;

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl Cursor {
    /// Splits a text into tokens.
    pub fn new(text: &str) -> Result<Cursor> {
        let mut tokens = vec![];
        for (number, line) in text.lines().enumerate() {
            let chars: Vec<char> = line.chars().collect();
            let mut i = 0;
            while i < chars.len() {
                let start = i;
                let c = chars[i];
                if c == ';' {
                    break;
                }
                if c.is_whitespace() {
                    i += 1;
                    continue;
                }
                let token = lex(&chars, &mut i).map_err(|message| TextError {
                    line: number + 1,
                    column: start + 1,
                    message,
                })?;
                tokens.push((token, number + 1, start + 1));
            }
        }
        let end = text.lines().count().max(1);
        tokens.push((Token::End, end, 1));
        Ok(Cursor {
            tokens: Arc::new(tokens),
            at: 0,
        })
    }
    fn here(&self) -> &(Token, usize, usize) {
        // The end token stays the last.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }
    /// The next token.
    pub fn peek(&self) -> &Token {
        &self.here().0
    }
    /// The token after the next.
    pub fn peek_second(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }
    /// Takes the next token.
    pub fn take(&mut self) -> Token {
        let t = self.here().0.clone();
        self.at += 1;
        t
    }
    /// The line of the next token, from 1.
    pub fn line(&self) -> usize {
        self.here().1
    }
    /// Whether nothing is left.
    pub fn at_end(&self) -> bool {
        *self.peek() == Token::End
    }
    /// An error at the next token.
    pub fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        let (_, line, column) = *self.here();
        Err(TextError {
            line,
            column,
            message: message.into(),
        })
    }
    /// Whether the next token is this punctuation or word.
    pub fn is(&self, text: &str) -> bool {
        match self.peek() {
            Token::Word(s) => s == text,
            Token::Punct(s) => *s == text,
            _ => false,
        }
    }
    /// Takes this punctuation or word if it comes next.
    pub fn eat(&mut self, text: &str) -> bool {
        let yes = self.is(text);
        if yes {
            self.at += 1;
        }
        yes
    }
    /// Takes this punctuation or word.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        if self.eat(text) {
            return Ok(());
        }
        self.error(format!("expected `{text}`, found {}", self.peek()))
    }
    /// Takes a word.
    pub fn word(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Word(s) => {
                self.at += 1;
                Ok(s)
            }
            t => self.error(format!("expected a word, found {t}")),
        }
    }
    /// Takes a string.
    pub fn string(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Str(s) => {
                self.at += 1;
                Ok(s)
            }
            t => self.error(format!("expected a string, found {t}")),
        }
    }
    /// Takes a number as it is written, with `-` where one stands before it.
    pub fn number(&mut self) -> Result<String> {
        let minus = self.is("-") && matches!(self.peek_second(), Token::Number(_));
        if minus {
            self.at += 1;
        }
        match self.peek().clone() {
            Token::Number(s) => {
                self.at += 1;
                Ok(if minus { format!("-{s}") } else { s })
            }
            t => self.error(format!("expected a number, found {t}")),
        }
    }
    /// Takes a whole number.
    pub fn int(&mut self) -> Result<i64> {
        let start = self.at;
        let s = self.number()?;
        parse_int(&s).map_or_else(
            || {
                self.at = start;
                self.error(format!("`{s}` is no whole number of 64 bits"))
            },
            Ok,
        )
    }
    /// Takes items separated by commas up to `close`, which is taken too.
    pub fn list<T>(
        &mut self,
        close: &str,
        mut item: impl FnMut(&mut Cursor) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut out = vec![];
        while !self.eat(close) {
            if !out.is_empty() {
                self.expect(",")?;
            }
            out.push(item(self)?);
        }
        Ok(out)
    }
}

/// A whole number in decimal or, after `0x`, hexadecimal (which may use all 64 bits).
pub fn parse_int(s: &str) -> Option<i64> {
    let (minus, digits) = match s.strip_prefix('-') {
        Some(d) => (true, d),
        None => (false, s),
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        let v = u64::from_str_radix(hex, 16).ok()? as i64;
        return Some(if minus { v.wrapping_neg() } else { v });
    }
    s.parse().ok()
}

fn lex(chars: &[char], i: &mut usize) -> std::result::Result<Token, String> {
    let c = chars[*i];
    let at = |k: usize| chars.get(k).copied().unwrap_or(' ');
    if c.is_ascii_digit() {
        let start = *i;
        while is_word(at(*i))
            || at(*i) == '.' && at(*i + 1).is_ascii_digit()
            || matches!(at(*i), '+' | '-')
                && matches!(at(*i - 1), 'e' | 'E')
                && at(*i + 1).is_ascii_digit()
                && !(at(start) == '0' && at(start + 1) == 'x')
        {
            *i += 1;
        }
        return Ok(Token::Number(chars[start..*i].iter().collect()));
    }
    let sigil = "%@$#".contains(c) && is_word(at(*i + 1));
    if c.is_ascii_alphabetic() || c == '_' || sigil {
        let start = *i;
        *i += 1;
        while is_word(at(*i)) || at(*i) == '.' && is_word(at(*i + 1)) {
            *i += 1;
        }
        return Ok(Token::Word(chars[start..*i].iter().collect()));
    }
    if c == '"' {
        return string(chars, i);
    }
    for p in PAIRS.iter().chain(SINGLES) {
        if p.chars().enumerate().all(|(k, c)| at(*i + k) == c) {
            *i += p.len();
            return Ok(Token::Punct(p));
        }
    }
    Err(format!("character {c:?} has no meaning here"))
}

fn string(chars: &[char], i: &mut usize) -> std::result::Result<Token, String> {
    let mut out = String::new();
    *i += 1;
    loop {
        let c = *chars.get(*i).ok_or("the string does not end on its line")?;
        *i += 1;
        match c {
            '"' => return Ok(Token::Str(out)),
            '\\' => {
                let e = *chars.get(*i).ok_or("the string does not end on its line")?;
                *i += 1;
                match e {
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'r' => out.push('\r'),
                    '0' => out.push('\0'),
                    'u' => {
                        let rest: String = chars[*i..].iter().take(10).collect();
                        let hex = rest.strip_prefix('{').and_then(|r| r.split_once('}'));
                        let hex = hex.ok_or("expected \\u{...}")?.0;
                        let c = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32);
                        out.push(c.ok_or("\\u{...} is no character")?);
                        *i += hex.len() + 2;
                    }
                    '"' | '\\' | '\'' => out.push(e),
                    _ => return Err(format!("unknown escape \\{e}")),
                }
            }
            c => out.push(c),
        }
    }
}

/// Whether a name can stand as a word without quotes.
pub fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(is_word)
}

/// The number that a debug form such as `v12` ends in.
pub fn numbered<I: Id>(word: &str, prefix: &str) -> Option<I> {
    let n: u32 = word.strip_prefix(prefix)?.parse().ok()?;
    Some(I::new(n as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_places() {
        let mut c =
            Cursor::new("func %x1 -> [2.5e-3f32, 0..4] ; note\n  \"a\\n\\u{e9}\" >>>").unwrap();
        assert!(c.eat("func"));
        assert_eq!(c.word().unwrap(), "%x1");
        assert!(c.eat("->") && c.eat("["));
        assert_eq!(c.number().unwrap(), "2.5e-3f32");
        c.expect(",").unwrap();
        assert_eq!(c.int().unwrap(), 0);
        assert!(c.eat(".."));
        assert_eq!(c.int().unwrap(), 4);
        let e = c.expect(")").unwrap_err();
        assert_eq!((e.line, e.column), (1, 29));
        assert!(c.eat("]"));
        assert_eq!(c.string().unwrap(), "a\né");
        assert!(c.eat(">>>") && c.at_end());
        assert_eq!(
            Cursor::new("a\n \"open").err().unwrap().to_string(),
            "2:2: the string does not end on its line"
        );
    }
}
