//! `tocsin topology`: what each service reads, keeps and writes.

use crate::cli::TopologyArgs;
use std::io::Write;
use tocsin_stream::Topology;

/// Every service's topology, in the order of the way of one event.
pub fn all() -> Vec<Topology> {
    vec![
        tocsin_detect::topology(),
        tocsin_notify::matching::topology(),
        tocsin_notify::deliver::topology(),
        tocsin_notify::send::topology(),
        tocsin_project::topology(),
    ]
}

/// Prints them.
pub fn run(args: &TopologyArgs) -> anyhow::Result<()> {
    let topologies = all();
    let text = if args.mermaid {
        tocsin_stream::topology::mermaid(&topologies)
    } else {
        topologies.iter().map(Topology::text).collect::<Vec<_>>().join("\n")
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
