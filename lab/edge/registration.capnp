# The part of the connector protocol that the edge serves on a control stream.
# Source: vendor reference, "The connector protocol over HTTP/2". Only ordinals, types and the
# interface's id reach the wire.
@0xc1a7c5d0b4e29f63;

struct Credentials {
  account @0 :Text;
  secret @1 :Data;
}

struct Connector {
  id @0 :Data;
  features @1 :List(Text);
  version @2 :Text;
  platform @3 :Text;
}

struct Options {
  connector @0 :Connector;
  localAddress @1 :Data;
  replaceExisting @2 :Bool;
  compression @3 :UInt8;
  attempts @4 :UInt8;
}

struct Refusal {
  cause @0 :Text;
  retryAfter @1 :Int64;  # nanoseconds
  shouldRetry @2 :Bool;
}

struct Details {
  connection @0 :Data;
  location @1 :Text;
  remotelyManaged @2 :Bool;
}

struct Answer {
  outcome :union {
    refusal @0 :Refusal;
    details @1 :Details;
  }
}

interface Registration @0xf71695ec7fe85497 {
  register @0 (auth :Credentials, tunnel :Data, index :UInt8, options :Options) -> (answer :Answer);
  unregister @1 ();
  configure @2 (config :Data);
}
