using System.Text.RegularExpressions;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Kernels.Reference;
using Bert4Rec.Tools;

namespace Bert4Rec.Tests;

/// <summary>What README.md and docs/ point to is there, and what they are to list they list.</summary>
public partial class DocumentationTests
{
    public static TheoryData<string> Pages =>
    [
        "README.md",
        .. Directory.GetFiles(Path.Combine(TestFiles.RepositoryRoot, "docs"), "*.md").Select(path => $"docs/{Path.GetFileName(path)}"),
    ];

    [Theory]
    [MemberData(nameof(Pages))]
    public void Links_lead_to_files_and_to_headings(string page)
    {
        string folder = Path.GetDirectoryName(Path.Combine(TestFiles.RepositoryRoot, page))!;
        foreach (string link in Links().Matches(Read(page)).Select(match => match.Groups[1].Value).Where(link => !link.Contains("://")))
        {
            string[] parts = link.Split('#');
            string target = parts[0].Length == 0 ? Path.Combine(TestFiles.RepositoryRoot, page) : Path.Combine(folder, parts[0]);
            Assert.True(Path.Exists(target), $"{page} links to {link}, which is not there");
            if (parts.Length > 1)
            {
                var anchors = Headings().Matches(File.ReadAllText(target)).Select(match => Anchor(match.Groups[1].Value));
                Assert.True(anchors.Contains(parts[1]), $"{page} links to {link}, and there is no such heading");
            }
        }
    }

    /// <summary>Paths in the text, as <c>kernels/Gpu</c>; what a command makes (saved/sample) is not in the repository.</summary>
    [Theory]
    [MemberData(nameof(Pages))]
    public void Paths_in_the_text_are_there(string page)
    {
        foreach (string path in Paths().Matches(Read(page)).Select(match => match.Groups[1].Value))
            Assert.True(Path.Exists(Path.Combine(TestFiles.RepositoryRoot, path)), $"{page} names {path}, which is not there");
    }

    public static TheoryData<string> Operations =>
    [
        .. Directory.GetFiles(Path.Combine(TestFiles.RepositoryRoot, "kernels", "Reference"), "*.cs")
            .Select(path => Path.GetFileNameWithoutExtension(path)).Where(name => name != nameof(ReferenceModel)),
    ];

    /// <summary>One name and three files, as docs/kernels.md says, where it has its place; and tests.</summary>
    [Theory]
    [MemberData(nameof(Operations))]
    public void An_operation_has_three_files_tests_and_a_place_in_the_document(string name)
    {
        string[] files = [.. ((string[])["Reference", "Cpu", "Gpu"]).Select(folder => $"kernels/{folder}/{name}.cs")];
        foreach (string file in files.Append($"tests/Bert4Rec.Tests/Kernels/{name}Tests.cs"))
            Assert.True(File.Exists(Path.Combine(TestFiles.RepositoryRoot, file)), $"{name} has no {file}");
        foreach (string file in files)
            Assert.True(Read("docs/kernels.md").Contains($"(../{file})"), $"docs/kernels.md has no link to {file}");
    }

    [Fact]
    public void The_list_of_GPU_kernels_has_them_all()
    {
        string list = Read("docs/gpu-kernels.md");
        list = list[..list.IndexOf("## Main loops", StringComparison.Ordinal)];
        string[] listed = [.. Rows().Matches(list).Select(row => row.Groups[1].Value)];
        string[] kernels = [.. PtxKernels.All(withTensorCores: true).Select(kernel => PtxCompiler.NameOf(kernel.Kernel)).Distinct()];
        string[] missing = [.. kernels.Except(listed)], gone = [.. listed.Except(kernels)];
        Assert.True(
            missing.Length + gone.Length == 0,
            $"docs/gpu-kernels.md, which says how it is written, lacks {string.Join(", ", missing)}; has gone: {string.Join(", ", gone)}");
    }

    /// <summary>Code in a chapter stands so, but for its indentation, in the file that the chapter linked to last.</summary>
    [Fact]
    public void Quoted_code_is_the_code()
    {
        string code = "", linked = "";
        int quotes = 0;
        foreach (Match match in LinksAndCode().Matches(Read("docs/layer-norm.md")))
        {
            if (match.Groups["link"].Success)
            {
                linked = match.Groups["link"].Value;
                code = linked.EndsWith(".cs", StringComparison.Ordinal) ? Unindented(Read(Path.Combine("docs", linked))) : "";
                continue;
            }
            quotes++;
            string quote = Unindented(match.Groups["code"].Value).Trim();
            Assert.True(code.Contains(quote), $"docs/layer-norm.md quotes what {linked} does not say: {quote}");
        }
        Assert.NotEqual(0, quotes);
    }

    private static string Unindented(string text) => Indentation().Replace(text, "");

    private static string Read(string page) => File.ReadAllText(Path.Combine(TestFiles.RepositoryRoot, page));

    /// <summary>As GitHub makes them.</summary>
    private static string Anchor(string heading) =>
        Unusual().Replace(heading.ToLowerInvariant().Replace(' ', '-'), "");

    [GeneratedRegex(@"\]\(([^)\s]+)\)")]
    private static partial Regex Links();

    [GeneratedRegex(@"^#+ (.+?)\s*$", RegexOptions.Multiline)]
    private static partial Regex Headings();

    [GeneratedRegex(@"`((?:kernels|src|tests|docs|benchmarks|configs|tools|\.ci)/[\w./-]*)`")]
    private static partial Regex Paths();

    [GeneratedRegex(@"\]\((?<link>[^)\s]+)\)|```csharp\n(?<code>.*?)```", RegexOptions.Singleline)]
    private static partial Regex LinksAndCode();

    [GeneratedRegex(@"^\| `([^`]+)`", RegexOptions.Multiline)]
    private static partial Regex Rows();

    [GeneratedRegex(@"^[ \t\r]+", RegexOptions.Multiline)]
    private static partial Regex Indentation();

    [GeneratedRegex(@"[^\w-]")]
    private static partial Regex Unusual();
}
