// Masks for a photo's concepts from TensorFlow Serving or `cmask serve`, over gRPC.
//
//   npm install
//   node segment.js --server 127.0.0.1:8500 --out masks photo.jpg dress "red hat"
//
// The messages are the Python package's file of descriptors. The stored pixels of the photo count: one that
// is turned by its EXIF orientation has to be turned first (for instance by sharp's `rotate()`).

const fs = require("node:fs");
const path = require("node:path");
const { parseArgs } = require("node:util");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const DESCRIPTORS = path.join(__dirname, "../../../cmask_tf/serving/client_messages.binpb");
const MESSAGE_BYTES = 256 * 1024 * 1024; // gRPC's own limit is 4 MB
const SERVICE = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: [{}],
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.3s",
        maxBackoff: "5s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

function connect(server, ca) {
  const definition = protoLoader.loadFileDescriptorSetFromBuffer(fs.readFileSync(DESCRIPTORS), { keepCase: true });
  const { PredictionService } = grpc.loadPackageDefinition(definition).tensorflow.serving;
  const credentials = ca ? grpc.credentials.createSsl(fs.readFileSync(ca)) : grpc.credentials.createInsecure();
  return new PredictionService(server, credentials, {
    "grpc.max_send_message_length": MESSAGE_BYTES,
    "grpc.max_receive_message_length": MESSAGE_BYTES,
    "grpc.per_rpc_retry_buffer_size": MESSAGE_BYTES,
    "grpc.service_config": JSON.stringify(SERVICE),
  });
}

function strings(values, shape) {
  return { dtype: "DT_STRING", tensor_shape: { dim: shape.map((size) => ({ size })) }, string_val: values };
}

function segment(client, model, image, concepts, seconds) {
  const request = {
    model_spec: { name: model, signature_name: "segment_encoded" },
    // From a file of descriptors proto-loader takes a map as the list of its entries.
    inputs: [
      { key: "image_bytes", value: strings([image], [1]) },
      { key: "concepts", value: strings(concepts.map((name) => Buffer.from(name)), [1, concepts.length]) },
    ],
  };
  const deadline = Date.now() + 1000 * seconds;
  return new Promise((resolve, reject) =>
    client.Predict(request, { deadline }, (error, response) => {
      if (error) reject(error);
      else resolve(Object.fromEntries(response.outputs.map(({ key, value }) => [key, value])));
    })
  );
}

// A mask is a PNG of the photo's size whose 0-255 is the probability. It has none where the name is not in the
// vocabulary or the photo could not be decoded.
function save(file, png) {
  fs.writeFileSync(`${file}.partial`, png);
  fs.renameSync(`${file}.partial`, file);
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      server: { type: "string", default: "127.0.0.1:8500" },
      model: { type: "string", default: "default" },
      out: { type: "string", default: "." },
      deadline: { type: "string", default: "60" },
      ca: { type: "string" },
    },
  });
  const [photo, ...concepts] = positionals;
  if (!concepts.length) throw new Error("expected a photo and at least one concept");
  const client = connect(values.server, values.ca);
  const image = fs.readFileSync(photo);
  const outputs = await segment(client, values.model, image, concepts, Number(values.deadline));
  fs.mkdirSync(values.out, { recursive: true });
  concepts.forEach((name, index) => {
    const png = outputs.mask_png_bytes.string_val[index];
    if (!outputs.known.bool_val[index]) throw new Error(`concept "${name}": not in the served model's vocabulary`);
    if (!png.length) throw new Error(`${photo}: the server could not decode it`);
    const file = path.join(values.out, `${path.parse(photo).name}.${name.replace(/[^\p{L}\p{N}]+/gu, "-")}.png`);
    save(file, png);
    const found = outputs.present.bool_val[index] ? "found" : "not found";
    console.log(`${photo}: ${name}: ${found} (score ${outputs.score.float_val[index].toFixed(2)}) -> ${file}`);
  });
  client.close();
}

main().catch((error) => {
  console.error(`segment.js: error: ${error.details || error.message}`);
  process.exit(2);
});
