import { version } from "onestep";
import { GeneratedImage } from "./generated-image";

// The server imports the package, and nothing of it runs there.
export default function Page() {
  return (
    <main>
      <p>onestep {version}</p>
      <GeneratedImage />
    </main>
  );
}
