// What a test puts on a page for its later calls.
interface Window {
  [name: string]: any;
}
interface Document {
  getElementById(id: string): any;
}
declare var axe: any;
declare var begin: any;
declare var expected: any;
declare var inWorker: any;
declare var model: any;
declare var onestep: any;
declare var outcome: any;
declare var pixels: any;
declare var watched: any;
