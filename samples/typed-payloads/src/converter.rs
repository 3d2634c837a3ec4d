//! A payload converter for clients. Its errors name the path to the wrong value in a result.

use shared::{AbsentAsNull, JsonConverter};
use std::sync::Arc;
use temporalio_common::data_converters::{
    DataConverter, DefaultFailureConverter, DefaultPayloadCodec, PayloadConverter,
};

/// Returns a data converter with the payload converter [`JsonConverter`].
///
/// Use it in clients only. In a worker it would replace the SDK's own converter, and only that one knows the number of
/// arguments.
pub fn data_converter() -> DataConverter {
    DataConverter::new(
        PayloadConverter::Serde(Arc::new(JsonConverter)),
        DefaultFailureConverter::default(),
        AbsentAsNull(DefaultPayloadCodec),
    )
}
