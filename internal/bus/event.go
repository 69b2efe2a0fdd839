// Package bus carries events between services: into the sender's outbox in the
// sender's transaction, through a broker, and once into each receiver's
// transaction.
package bus
