//! The laws of rwsgi's HTTP for the fuzz targets: those of the tests, word for word.

#[allow(dead_code)]
#[path = "../../tests/http_cases/case.rs"]
mod case;
#[path = "../../tests/http_cases/conversation.rs"]
mod conversation;
#[path = "../../tests/http_cases/laws.rs"]
mod laws;
#[allow(dead_code)]
#[path = "../../tests/http_cases/mutation.rs"]
mod mutation;

/// Turns a case into the data of a law.
type Seed = fn(&case::Case) -> Vec<u8>;

/// A head is read the same however it is cut.
pub fn head(data: &[u8]) {
    laws::head(data);
}

/// A body is decoded the same however it is cut.
pub fn chunks(data: &[u8]) {
    laws::chunks(data);
}

/// A connection has the same outcome however its bytes are cut.
pub fn connection(data: &[u8]) {
    laws::connection(data);
}

/// Any calls of an application give one response.
pub fn response(data: &[u8]) {
    laws::response(data);
}

/// Returns the seeds of a target: the name and the data of each case file in `tests/http_cases`.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let (folders, seed): (&[&str], Seed) = match target {
        "response" => (&["respond"], case::Case::as_calls),
        "chunks" => (&["accept", "reject"], case::Case::as_body),
        _ => (&["accept", "reject"], case::Case::as_connection),
    };
    let cases = folders.iter().flat_map(|folder| case::cases(folder, 0));
    let name = |case: &case::Case| case.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    cases.map(|case| (name(&case).unwrap_or_default(), seed(&case))).collect()
}
