//! Encryption, which you can switch on for both worker and starter to measure its cost.

use payload_codec::EncryptionArgs;
use shared::{AbsentAsNull, FilledFailures};
use temporalio_common::data_converters::{
    DataConverter, DefaultFailureConverter, PayloadConverter,
};

/// Whether to encrypt payloads, and with which keys.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Encryption {
    /// Encrypt all payloads; set it for both worker and starter
    #[arg(long)]
    pub encrypt: bool,

    /// Keys and other settings of the codec.
    #[command(flatten)]
    pub args: EncryptionArgs,
}

impl Encryption {
    /// Returns the data converter for the client of a worker or a starter. `remote` names the server,
    /// unless it is on this machine.
    ///
    /// # Errors
    /// The errors of [`EncryptionArgs::codec`].
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
