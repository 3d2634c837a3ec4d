//! Encryption, which worker and starter may both be told to do: what the codec costs.

use payload_codec::EncryptionArgs;
use shared::{AbsentAsNull, FilledFailures};
use temporalio_common::data_converters::{
    DataConverter, DefaultFailureConverter, PayloadConverter,
};

/// Whether payloads are encrypted, and by which keys.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Encryption {
    /// Encrypt all payloads; worker and starter both, or neither
    #[arg(long)]
    pub encrypt: bool,

    /// The keys.
    #[command(flatten)]
    pub args: EncryptionArgs,
}

impl Encryption {
    /// Returns the data converter for the client of a worker or a starter. `remote` names the server,
    /// unless it is on this machine.
    ///
    /// # Errors
    /// As [`EncryptionArgs::codec`].
    pub fn data_converter(&self, remote: Option<&str>) -> anyhow::Result<DataConverter> {
        if !self.encrypt {
            return Ok(shared::data_converter());
        }
        Ok(DataConverter::new(
            PayloadConverter::default(),
            FilledFailures::<DefaultFailureConverter>::default(),
            AbsentAsNull(self.args.codec(remote)?),
        ))
    }
}
