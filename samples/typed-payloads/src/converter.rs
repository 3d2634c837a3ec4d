//! A payload converter for a client. It names the path to what is wrong in a result.

use shared::{AbsentAsNull, JsonConverter};
use std::sync::Arc;
use temporalio_common::data_converters::{
    DataConverter, DefaultFailureConverter, DefaultPayloadCodec, PayloadConverter,
};

/// Returns a data converter with the payload converter [`JsonConverter`].
///
/// It is for a client. In a worker it would take the place of the SDK's own converter, which alone knows
/// how many arguments there are.
pub fn data_converter() -> DataConverter {
    DataConverter::new(
        PayloadConverter::Serde(Arc::new(JsonConverter)),
        DefaultFailureConverter::default(),
        AbsentAsNull(DefaultPayloadCodec),
    )
}
