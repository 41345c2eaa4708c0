//! payment-gateway
