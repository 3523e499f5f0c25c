"""Molecules as pictures: a grid of structures, and one molecule that turns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from suffuse.files import atomic_write, write_text
from suffuse.modalities.molecules.encoding import why_invalid

if TYPE_CHECKING:
    from rdkit.Chem import Mol

COLOURS = {
    "H": "#dddddd", "C": "#666666", "N": "#3355dd", "O": "#dd3322", "F": "#22aa55", "S": "#ccaa22", "P": "#ee8800",
    "Cl": "#22bb22", "Br": "#993322", "I": "#772299", "B": "#ffaa99", "Si": "#bb9977", "Se": "#dd9900",
}  # fmt: skip
MARK = (0.72, 0.85, 0.98)
"""Background of given atoms."""


def draw_molecules(
    molecules: Sequence[Mol], path: Path, columns: int = 4, size: int = 180, legends: Sequence[str] = ()
) -> Path:
    """A grid as SVG or PNG; given atoms (property "given_atoms") are marked, invalid molecules say so."""
    from rdkit import Chem
    from rdkit.Chem import rdDepictor
    from rdkit.Chem.Draw import rdMolDraw2D

    flat, marks, texts = [], [], list(legends) or [""] * len(molecules)
    for k, molecule in enumerate(molecules):
        copy = Chem.Mol(molecule)
        bad = why_invalid(copy)
        given = [int(a) for a in copy.GetProp("given_atoms").split()] if copy.HasProp("given_atoms") else []
        copy.RemoveAllConformers()
        if bad:
            texts[k] = "invalid"
            if copy.GetNumBonds() > copy.GetNumAtoms() + 6:  # a tangle, whose layout would take seconds
                copy = Chem.Mol()
                texts[k] = "invalid, not drawn"
            copy.UpdatePropertyCache(strict=False)
            Chem.FastFindRings(copy)
        elif not given:
            copy = Chem.RemoveHs(copy)
        rdDepictor.Compute2DCoords(copy)
        flat.append(copy)
        marks.append(given)
    columns = min(columns, max(1, len(flat)))
    rows = -(-len(flat) // columns)
    kind = rdMolDraw2D.MolDraw2DSVG if path.suffix == ".svg" else rdMolDraw2D.MolDraw2DCairo
    canvas = kind(columns * size, rows * size, size, size)
    options = canvas.drawOptions()
    options.prepareMolsBeforeDrawing = False
    options.setHighlightColour(MARK)
    options.padding = 0.12
    canvas.DrawMolecules(flat, legends=texts, highlightAtoms=marks)
    canvas.FinishDrawing()
    text = canvas.GetDrawingText()
    if path.suffix == ".svg":
        return write_text(text, path)
    with atomic_write(path) as partial:
        partial.write_bytes(text)
    return path


def turning_view(molecule: Mol, size: int = 260) -> str:
    """An HTML fragment with a small script that draws a molecule with coordinates and lets it turn; needs nothing else."""
    import numpy as np

    place = np.asarray(molecule.GetConformer().GetPositions())
    place = place - place.mean(0)
    atoms = [
        [
            *(round(float(c), 2) for c in p),
            COLOURS.get(a.GetSymbol(), "#aaaaaa"),
            0.28 if a.GetSymbol() == "H" else 0.42,
        ]
        for p, a in zip(place, molecule.GetAtoms(), strict=True)
    ]
    bonds = [[b.GetBeginAtomIdx(), b.GetEndAtomIdx(), int(round(b.GetBondTypeAsDouble()))] for b in molecule.GetBonds()]
    reach = float(np.linalg.norm(place, axis=1).max()) + 0.8
    return (
        _TURNING.replace("SIZE", str(size))
        .replace("ATOMS", json.dumps(atoms))
        .replace("BONDS", json.dumps(bonds))
        .replace("REACH", f"{reach:.2f}")
    )


_TURNING = """<canvas width="SIZE" height="SIZE" style="touch-action:none"></canvas><script>
(function(){const c=document.currentScript.previousElementSibling,g=c.getContext("2d"),A=ATOMS,B=BONDS,k=SIZE/2/REACH;
let turn=0,hold=null;function draw(){const s=Math.sin(turn),o=Math.cos(turn);g.clearRect(0,0,SIZE,SIZE);
const P=A.map(a=>[SIZE/2+k*(a[0]*o+a[2]*s),SIZE/2+k*a[1],a[2]*o-a[0]*s]);
const items=[];B.forEach(b=>items.push([(P[b[0]][2]+P[b[1]][2])/2,()=>{
const p=P[b[0]],q=P[b[1]],d=Math.hypot(q[0]-p[0],q[1]-p[1])||1,
nx=(q[1]-p[1])/d,ny=(p[0]-q[0])/d;g.strokeStyle="#999";g.lineWidth=b[2]>1?2:3;for(let i=0;i<b[2];i++){const w=(i-(b[2]-1)/2)*5;
g.beginPath();g.moveTo(p[0]+nx*w,p[1]+ny*w);g.lineTo(q[0]+nx*w,q[1]+ny*w);g.stroke();}}]));
A.forEach((a,i)=>items.push([P[i][2]+.01,()=>{g.fillStyle=a[3];g.strokeStyle="#333";g.lineWidth=.6;g.beginPath();
g.arc(P[i][0],P[i][1],k*a[4]*(1+P[i][2]/(5*REACH)),0,7);g.fill();g.stroke();}]));items.sort((x,y)=>x[0]-y[0]).forEach(x=>x[1]());}
c.onpointerdown=e=>{hold=[e.clientX,turn]};c.onpointermove=e=>{if(hold){turn=hold[1]+(e.clientX-hold[0])/80;draw();}};
c.onpointerup=c.onpointerleave=()=>{hold=null};const still=matchMedia("(prefers-reduced-motion: reduce)").matches;
(function spin(){if(!hold&&!still)turn+=.012;draw();if(!still)requestAnimationFrame(spin);})();})();
</script>"""
