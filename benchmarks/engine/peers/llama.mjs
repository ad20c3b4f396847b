// llama.cpp by node-llama-cpp, for benchmarks/engine/peers/llama.py.
// node llama.mjs PACKAGE MODEL THREADS SEQUENCES CONTEXT: reads one JSON list of {prompt, new_tokens} from each line,
// generates all of them side by side, and writes one line with the number of tokens of each.
import {createInterface} from "node:readline";
import {pathToFileURL} from "node:url";

const [entry, modelPath, ...numbers] = process.argv.slice(2);
const [threads, sequences, contextSize] = numbers.map(Number);
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry));

const llama = await getLlama({gpu: false, build: "never", maxThreads: threads, logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({sequences, contextSize, threads});
const free = Array.from({length: sequences}, () => context.getSequence());

async function generate({prompt, new_tokens: wanted}) {
    const sequence = free.pop();
    let generated = 0;
    for await (const _ of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
        generated += 1;
        if (generated === wanted) break;
    }
    await sequence.clearHistory();
    free.push(sequence);
    return generated;
}

console.log("ready");
for await (const line of createInterface({input: process.stdin})) {
    console.log(JSON.stringify(await Promise.all(JSON.parse(line).map(generate))));
}
