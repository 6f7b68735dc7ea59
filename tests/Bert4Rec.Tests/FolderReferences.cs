using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace Bert4Rec.Tests;

/// <summary>A use of one folder's code in another's.</summary>
/// <param name="From">The folder of the file that uses it, "src/Bert4Rec/Data".</param>
/// <param name="To">The folder of the file that declares it.</param>
/// <param name="Place">"FILE:LINE: Type.Member".</param>
internal readonly record struct FolderReference(string From, string To, string Place);

/// <summary>
/// What the folders of a source tree use of each other. The compiler says what each name in the code means, so that constants, nameof and
/// inferred types count, which a compiled assembly no longer shows. Comments do not count.
/// </summary>
internal sealed class FolderReferences
{
    private static readonly CSharpParseOptions _parsing = new(LanguageVersion.Latest, DocumentationMode.None);

    /// <summary>What ImplicitUsings adds to each file.</summary>
    private const string ImplicitUsings = """
        global using System;
        global using System.Collections.Generic;
        global using System.IO;
        global using System.Linq;
        global using System.Net.Http;
        global using System.Threading;
        global using System.Threading.Tasks;
        """;

    /// <summary>The platform's and the packages', without our own.</summary>
    private static readonly MetadataReference[] _libraries =
    [
        .. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(path => !Path.GetFileName(path).StartsWith("Bert4Rec", StringComparison.Ordinal))
            .Select(path => MetadataReference.CreateFromFile(path)),
    ];

    private readonly CSharpCompilation _compilation;

    /// <param name="files">Paths, with slashes, and the C# in them.</param>
    public FolderReferences(IEnumerable<(string Path, string Text)> files)
    {
        SyntaxTree[] trees = [.. files.Select(file => CSharpSyntaxTree.ParseText(file.Text, _parsing, file.Path))];
        Trees = trees;
        _compilation = CSharpCompilation.Create(
            "All",
            [CSharpSyntaxTree.ParseText(ImplicitUsings, _parsing), .. trees],
            _libraries,
            new CSharpCompilationOptions(OutputKind.ConsoleApplication, allowUnsafe: true));
    }

    /// <summary>The files, in the order given.</summary>
    public IReadOnlyList<SyntaxTree> Trees { get; }

    public static string FolderOf(string path) => path[..path.LastIndexOf('/')];

    /// <summary>Every use of code that another folder declares.</summary>
    public IEnumerable<FolderReference> Find()
    {
        foreach (SyntaxTree tree in Trees)
        {
            SemanticModel model = _compilation.GetSemanticModel(tree);
            string from = FolderOf(tree.FilePath);
            foreach (SyntaxNode node in tree.GetRoot().DescendantNodes())
            {
                if (node is not (SimpleNameSyntax or ImplicitObjectCreationExpressionSyntax or ConstructorInitializerSyntax))
                    continue;
                SymbolInfo info = model.GetSymbolInfo(node);
                if ((info.Symbol ?? info.CandidateSymbols.FirstOrDefault()) is not { } symbol)
                    continue;
                symbol = symbol.OriginalDefinition;
                if (symbol is INamespaceSymbol || symbol.DeclaringSyntaxReferences.FirstOrDefault() is not { } declaration)
                    continue;
                string to = FolderOf(declaration.SyntaxTree.FilePath);
                if (to == from)
                    continue;
                string name = symbol.ToDisplayString(SymbolDisplayFormat.CSharpShortErrorMessageFormat);
                yield return new(from, to, $"{tree.FilePath}:{Line(node)}: {name}");
            }
        }
    }

    private static int Line(SyntaxNode node) => node.GetLocation().GetLineSpan().StartLinePosition.Line + 1;
}
