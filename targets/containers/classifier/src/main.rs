//! A service for a container without anything else in it: no shell, no library, no file that is written.
//!
//! - `POST /classify` with a PNG or JPEG answers the digit in it.
//! - `GET /ready` runs the model on a picture whose answer is known, and compares the hash of the answer.
//! - `GET /live` answers as soon as there is a server.
//!
//! `classifier` serves, `classifier check` asks the server of this container whether it is ready: there is no other program to ask with.
//! `CLASSIFIER_ADDRESS` (0.0.0.0:8080), `CLASSIFIER_WEIGHTS` (/weights/digits.weights) and `CLASSIFIER_THREADS` (2) are read once.

use onnxc_runtime::picture::Picture;
use onnxc_runtime::{Session, Weights};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tiny_http::{Header, Method, Request, Response, Server};

onnxc_runtime::include_model!(mod digits);

/// Largest picture that is taken, in bytes.
const MOST: u64 = 1 << 20;
/// A picture whose answer is known, and the SHA-256 of that answer: ten scores, little-endian. It is the same on every machine.
const SAMPLE: &[u8] = include_bytes!("../../../../examples/digits/pictures/3.png");
const ANSWER: &str = "4518d60f93d064a350e458a81d39a9422095380b69ee62c886e8a6c935efb232";

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => serve(),
        Some("check") => check(),
        Some(_) => Err("classifier [check]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("classifier: {e}");
            ExitCode::FAILURE
        }
    }
}

fn setting(name: &str, usual: &str) -> String {
    std::env::var(name).unwrap_or(usual.into())
}

fn address() -> String {
    setting("CLASSIFIER_ADDRESS", "0.0.0.0:8080")
}

/// The program's model and weights. Threads share it.
struct Model {
    model: onnxc_runtime::Model,
    weights: memmap2::Mmap,
    picture: Picture,
}

impl Model {
    fn load() -> Result<Model, Failure> {
        let model = digits::load()?;
        let path = setting("CLASSIFIER_WEIGHTS", "/weights/digits.weights");
        let file = std::fs::File::open(&path).map_err(|e| format!("{path}: {e}"))?;
        // SAFETY: the volume is mounted read-only, and a new model comes as a new file.
        let weights = unsafe { memmap2::Mmap::map(&file)? };
        let input = model.descriptor().input(0).ok_or("no input")?;
        let loaded = Model {
            model,
            weights,
            picture: Picture::of(input)?,
        };
        let good = |file: Weights<'_>| file.verify().and(file.fits(&model.descriptor()));
        let checked = loaded.weights().and_then(|file| Ok(good(file)?));
        checked.map_err(|e| format!("{path}: {e}"))?;
        Ok(loaded)
    }

    fn weights(&self) -> Result<Weights<'_>, Failure> {
        // SAFETY: `load` verifies the file before anything is computed, and nobody writes to it.
        Ok(unsafe { Weights::new(&self.weights) }?)
    }

    fn scores(&self, file: &[u8], arena: &mut digits::Arena) -> Result<[f32; 10], Failure> {
        let image = self.picture.read(file)?;
        let mut scores = [0.0; 10];
        Session::<1, 1>::new(self.model, &mut arena.0)?
            .weights(self.weights()?)?
            .input(0, &image)?
            .output(0, &mut scores)?
            .run()?;
        Ok(scores)
    }
}

fn serve() -> Result<(), Failure> {
    let model = Arc::new(Model::load()?);
    let server = Arc::new(Server::http(address())?);
    println!("listening on http://{}", server.server_addr());
    let threads = setting("CLASSIFIER_THREADS", "2").parse()?;
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (server, model) = (Arc::clone(&server), Arc::clone(&model));
            std::thread::spawn(move || {
                let mut arena = Box::new(digits::Arena::NEW);
                for mut request in server.incoming_requests() {
                    let (status, body) = answer(&mut request, &model, &mut arena);
                    // A client that has gone is none of our business.
                    let _ = request.respond(response(status, &body));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().map_err(|_| "a thread ended")?;
    }
    Ok(())
}

fn answer(request: &mut Request, model: &Model, arena: &mut digits::Arena) -> (u16, Value) {
    match (request.method(), request.url()) {
        (Method::Post, "/classify") => {
            let mut file = Vec::new();
            match request.as_reader().take(MOST + 1).read_to_end(&mut file) {
                Ok(n) if n as u64 > MOST => (413, json!({ "error": "the picture is too large" })),
                Ok(_) => match model.scores(&file, arena) {
                    Ok(scores) => (200, best(&scores)),
                    Err(e) => (400, json!({ "error": e.to_string() })),
                },
                Err(e) => (400, json!({ "error": e.to_string() })),
            }
        }
        (Method::Get, "/ready") => match model.scores(SAMPLE, arena).map(|s| hash(&s)) {
            Ok(hash) => (
                if hash == ANSWER { 200 } else { 500 },
                json!({ "hash": hash }),
            ),
            Err(e) => (500, json!({ "error": e.to_string() })),
        },
        (Method::Get, "/live") => (200, json!({})),
        (_, "/classify" | "/ready" | "/live") => (405, json!({ "error": "another method" })),
        _ => (404, json!({ "error": "POST a picture to /classify" })),
    }
}

fn best(scores: &[f32; 10]) -> Value {
    let best = (0..10).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    json!({ "digit": best, "scores": scores })
}

fn hash(scores: &[f32]) -> String {
    let bytes: Vec<u8> = scores.iter().flat_map(|s| s.to_le_bytes()).collect();
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn response(status: u16, body: &Value) -> Response<Cursor<Vec<u8>>> {
    let response = Response::from_string(body.to_string()).with_status_code(status);
    match Header::from_bytes("Content-Type", "application/json") {
        Ok(header) => response.with_header(header),
        Err(()) => response,
    }
}

/// Asks the server in this container; it fails where that is not ready.
fn check() -> Result<(), Failure> {
    let address = address();
    let (_, port) = address
        .rsplit_once(':')
        .ok_or("an address without a port")?;
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse()?))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(answer.into()),
    }
}
