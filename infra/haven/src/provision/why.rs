use clap::Args;
#[derive(Debug, Args)]
pub struct Why {
    pub resource: String,
}
pub fn print(_options: &Why) -> anyhow::Result<bool> {
    Ok(false)
}
