//! A client for the services among the examples.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

/// The status and the body of an answer; nothing where nobody listens yet.
pub fn ask(address: &str, verb: &str, path: &str, body: &[u8]) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let head = format!(
        "{verb} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("a head is taken");
    // A server that refuses may close before it has read all.
    let _ = stream.write_all(body);
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = serde_json::from_str(body).expect("JSON");
    Some((status.expect("a status"), body))
}
