//! Takeovers that cross with other entries in the log.
