import { version } from "onestep";
import { Drawing } from "./drawing";

// On the server the package is imported and nothing of it runs.
export default function Page() {
  return (
    <main>
      <p>onestep {version}</p>
      <Drawing />
    </main>
  );
}
