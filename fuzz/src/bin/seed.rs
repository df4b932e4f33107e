//! Fills `corpus/` with the cases of `tests/http_cases`, a folder a target.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in ["head", "chunks", "connection", "response"] {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        let seeds = rwsgi_fuzz::seeds(target);
        for (name, data) in &seeds {
            std::fs::write(folder.join(name), data)?;
        }
        println!("{}: {} cases", folder.display(), seeds.len());
    }
    Ok(())
}
