//! An HTTP server: `POST /classify` with a picture answers the digit in it, `GET /health` whether the model still computes right.

use digits_service::{Answer, Classifier};
use serde_json::{Value, json};
use std::io::{Cursor, Read};
use std::sync::Arc;
use tiny_http::{Header, Method, Request, Response, Server};

/// Largest picture that is taken, in bytes.
const MOST: u64 = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Arc::new(Server::http(&address)?);
    println!("listening on http://{}", server.server_addr());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let server = Arc::clone(&server);
            // A model for each thread: runs share the code and the weights, not the arena.
            Classifier::new().map(|c| std::thread::spawn(move || serve(&server, c)))
        })
        .collect::<Result<_, _>>()?;
    for worker in workers {
        worker.join().map_err(|_| "a thread ended")?;
    }
    Ok(())
}

fn serve(server: &Server, mut classifier: Classifier) {
    for mut request in server.incoming_requests() {
        let (status, body) = answer(&mut request, &mut classifier);
        // A client that has gone is none of our business.
        let _ = request.respond(response(status, &body));
    }
}

fn answer(request: &mut Request, classifier: &mut Classifier) -> (u16, Value) {
    match (request.method(), request.url()) {
        (Method::Post, "/classify") => {
            let mut file = Vec::new();
            match request.as_reader().take(MOST + 1).read_to_end(&mut file) {
                Ok(n) if n as u64 > MOST => (413, json!({ "error": "the picture is too large" })),
                Ok(_) => match classifier.classify(&file) {
                    Ok(Answer { digit, score }) => (200, json!({ "digit": digit, "score": score })),
                    Err(e) => (400, json!({ "error": e.to_string() })),
                },
                Err(e) => (400, json!({ "error": e.to_string() })),
            }
        }
        (Method::Get, "/health") => match classifier.classify(SAMPLE) {
            Ok(Answer { digit: 3, .. }) => (200, json!({ "ok": true })),
            _ => (500, json!({ "ok": false })),
        },
        (_, "/classify" | "/health") => (405, json!({ "error": "another method" })),
        _ => (404, json!({ "error": "POST a picture to /classify" })),
    }
}

/// A picture whose answer is known.
const SAMPLE: &[u8] = include_bytes!("../../../digits/pictures/3.png");

fn response(status: u16, body: &Value) -> Response<Cursor<Vec<u8>>> {
    let response = Response::from_string(body.to_string()).with_status_code(status);
    match Header::from_bytes("Content-Type", "application/json") {
        Ok(header) => response.with_header(header),
        Err(()) => response,
    }
}
